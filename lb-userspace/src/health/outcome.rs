//! How a probe may end.

use std::{fmt, io};

/// What one probe says of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Any other failure that the network reported, as `errno`.
    Failed(i32),
    /// This host could not ask, as `errno`: no descriptor, no free port, forbidden by its own
    /// firewall. Says nothing of the backend and counts neither way.
    NotMade(i32),
    /// The backend answered as it should.
    Ok,
    /// It answered that nobody listens.
    Refused,
    /// It broke the connection off while it was made.
    Reset,
    /// No answer in time.
    Timeout,
    /// A router, or the neighbour look-up of this host, says that it cannot be reached.
    Unreachable,
    /// It ended the connection before it had answered.
    Closed,
    /// It answered something else than what was expected.
    Unexpected,
    /// What it answered is not of the protocol.
    Malformed,
    /// An HTTP status that is none of the good ones.
    Status(u16),
    /// The TLS handshake failed.
    Tls(TlsFault),
    /// A DNS response code other than the expected one.
    Rcode(u16),
    /// A gRPC status other than 0.
    Grpc(u32),
    /// It says by `grpc.health.v1` that it does not serve.
    NotServing,
    /// A command's exit code.
    Exit(i32),
    /// The signal that ended a command.
    Killed(i32),
    /// It answers by way of the VIP, but to no packet of full size.
    FullSizeLost,
}

/// Why there is no TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFault {
    /// The certificate is not valid any more.
    Expired,
    /// It is not valid yet.
    NotYet,
    /// Nobody who is trusted signed it.
    Untrusted,
    /// It is for other names.
    Name,
    /// Anything else about the certificate.
    Certificate,
    /// It is no TLS, or the two have no version or cipher in common.
    Handshake,
}

impl TlsFault {
    const fn text(self) -> &'static str {
        match self {
            Self::Expired => "certificate expired",
            Self::NotYet => "certificate not valid yet",
            Self::Untrusted => "certificate of an unknown authority",
            Self::Name => "certificate for other names",
            Self::Certificate => "bad certificate",
            Self::Handshake => "no TLS handshake",
        }
    }
}

/// What an [`Outcome`] counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Towards `fall`.
    Failed,
    /// Towards `rise`.
    Good,
    /// Neither.
    Inconclusive,
}

impl Outcome {
    /// What it counts as.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Ok => Verdict::Good,
            Self::NotMade(_) => Verdict::Inconclusive,
            _ => Verdict::Failed,
        }
    }

    /// Whether nothing came back at all: what a host says that is cut off, and of one that is.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable)
    }

    /// A short word for metrics and JSON, the same for every `errno`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::NotMade(_) => "not_made",
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Closed => "closed",
            Self::Unexpected => "unexpected",
            Self::Malformed => "malformed",
            Self::Status(_) => "status",
            Self::Tls(_) => "tls",
            Self::Rcode(_) => "rcode",
            Self::Grpc(_) => "grpc",
            Self::NotServing => "not_serving",
            Self::Exit(_) => "exit",
            Self::Killed(_) => "killed",
            Self::FullSizeLost => "full_size_lost",
        }
    }

    /// What a failed `connect` says (`connect(2)`; for ICMP `icmp_err_convert` in the kernel's
    /// `net/ipv4/icmp.c`, `tab_unreach` in `net/ipv6/icmp.c`).
    ///
    /// An error of unknown meaning counts as a failure: a backend that cannot be asked takes no flows.
    #[must_use]
    pub fn from_connect_error(error: &io::Error) -> Self {
        let Some(errno) = error.raw_os_error() else {
            return Self::NotMade(libc::EINVAL);
        };
        match errno {
            libc::ECONNREFUSED => Self::Refused,
            libc::ECONNRESET | libc::ECONNABORTED => Self::Reset,
            libc::ETIMEDOUT => Self::Timeout,
            libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN => {
                Self::Unreachable
            }
            libc::EADDRNOTAVAIL
            | libc::EAFNOSUPPORT
            | libc::EAGAIN
            | libc::EINVAL
            | libc::EMFILE
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::EPERM => Self::NotMade(errno),
            other => Self::Failed(other),
        }
    }
}

impl Outcome {
    /// What an error says that came after the connection was there.
    #[must_use]
    pub fn from_stream_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::from_connect_error(error),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(errno) => write!(f, "failed: {}", io::Error::from_raw_os_error(*errno)),
            Self::NotMade(errno) => write!(
                f,
                "not made, this host's fault: {}",
                io::Error::from_raw_os_error(*errno)
            ),
            Self::Ok | Self::Refused | Self::Reset | Self::Timeout | Self::Unreachable => {
                f.write_str(self.name())
            }
            Self::Closed => f.write_str("closed before it answered"),
            Self::Unexpected => f.write_str("unexpected answer"),
            Self::Malformed => f.write_str("malformed answer"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Tls(fault) => f.write_str(fault.text()),
            Self::Rcode(code) => write!(f, "rcode {code}"),
            Self::Grpc(status) => write!(f, "gRPC status {status}"),
            Self::NotServing => f.write_str("not serving"),
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
            Self::FullSizeLost => f.write_str("full-sized packets are lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_this_host_is_not_held_against_the_backend() {
        for errno in [
            libc::EMFILE,
            libc::EADDRNOTAVAIL,
            libc::EPERM,
            libc::ENOBUFS,
        ] {
            let outcome = Outcome::from_connect_error(&io::Error::from_raw_os_error(errno));
            assert_eq!(outcome.verdict(), Verdict::Inconclusive, "{outcome}");
        }
    }

    #[test]
    fn what_the_network_says_counts_as_a_failure() {
        for (errno, expected) in [
            (libc::ECONNREFUSED, Outcome::Refused),
            (libc::ECONNRESET, Outcome::Reset),
            (libc::ETIMEDOUT, Outcome::Timeout),
            (libc::EHOSTUNREACH, Outcome::Unreachable),
            (libc::ENETUNREACH, Outcome::Unreachable),
            (libc::EACCES, Outcome::Failed(libc::EACCES)),
        ] {
            let outcome = Outcome::from_connect_error(&io::Error::from_raw_os_error(errno));
            assert_eq!(outcome, expected);
            assert_eq!(outcome.verdict(), Verdict::Failed);
        }
    }

    #[test]
    fn texts_name_the_cause() {
        assert_eq!(Outcome::Refused.to_string(), "refused");
        assert!(
            Outcome::NotMade(libc::EMFILE)
                .to_string()
                .contains("Too many open files")
        );
    }
}
