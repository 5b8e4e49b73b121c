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
            Self::Failed(_) | Self::Refused | Self::Reset | Self::Timeout | Self::Unreachable => {
                Verdict::Failed
            }
        }
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
