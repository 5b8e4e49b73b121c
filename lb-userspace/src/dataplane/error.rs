//! Why the data plane cannot do what it should.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    maps::MapError,
    pin::PinError,
    programs::{ProgramError, links::LinkError},
};

use crate::desired::{Inconsistent, Refused, StoreError};

const MIB: u64 = 1 << 20;

/// Why the data plane cannot do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A test ends here what a kill would.
    #[cfg(test)]
    #[error("killed by a test")]
    Killed,
    /// The kernel did not take the program onto an interface.
    #[error("cannot attach to {interface} in {mode} mode: {source}{hint}")]
    Attach {
        /// The interface.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// The kernel's answer.
        source: Box<ProgramError>,
        /// What to do.
        hint: &'static str,
    },
    /// Maps of this version that contradict themselves.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
    /// A file or folder.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was to be done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Maps of another version.
    #[error(
        "the pinned maps below {pins} are of layout {found}, this xlb writes {expected}: run `xlb \
         detach` and start the daemon again (nothing is forwarded in between)"
    )]
    Layout {
        /// The folder of the pins.
        pins: PathBuf,
        /// Their version; 0: unknown.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A link.
    #[error("the link of {interface}: {source}")]
    Link {
        /// The interface.
        interface: String,
        /// Why not.
        source: LinkError,
    },
    /// The program cannot be loaded.
    #[error("the kernel does not load the program: {reason}")]
    Load {
        /// Why; ends with the verifier's last lines.
        reason: String,
    },
    /// Another daemon of this instance runs.
    #[error(
        "another daemon of this instance runs (it holds {lock}): stop it first, or choose another \
         --instance"
    )]
    Locked {
        /// The lock.
        lock: PathBuf,
    },
    /// A map cannot be made.
    #[error(
        "the kernel does not make the map {name}: {source}; where memory is short, give the daemon's \
         control group more, or configure less"
    )]
    MakeMap {
        /// Its name.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A map.
    #[error("the map {name}: {source}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why not.
        source: Box<MapError>,
    },
    /// Larger maps would take what the machine does not have.
    #[error(
        "the configuration needs larger maps of {} MiB, and {} MiB of memory are available: give the \
         machine more, or configure less; nothing was changed",
        .needs / MIB, .available / MIB
    )]
    NoMemory {
        /// Bytes.
        needs: u64,
        /// Bytes.
        available: u64,
    },
    /// An interface that the host does not have.
    #[error("there is no interface {0}: create it or take it out of the configuration")]
    NoInterface(String),
    /// The program is attached, but not by a link that outlives the daemon.
    #[error(
        "the kernel attached the program to {interface} without a BPF link, which cannot be \
         pinned: Linux 5.9 or newer is needed; take it off with `ip link set dev {interface} xdp \
         off`"
    )]
    NotALink {
        /// The interface.
        interface: String,
    },
    /// An interface without a MAC address.
    #[error("{0} is not an Ethernet interface: xlb reads Ethernet frames only")]
    NotEthernet(String),
    /// The folder of the pins is not where pins can be.
    #[error(
        "{path} is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or \
         name another folder with --pin-dir"
    )]
    NotBpffs {
        /// The folder.
        path: PathBuf,
    },
    /// A pin cannot be made.
    #[error("cannot pin {path}: {source}")]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: PinError,
    },
    /// Pins that nobody outside would see.
    #[error(
        "the daemon is in a mount namespace of its own, so that its pins end with it: start it \
         with `nsenter --net=…` in place of `ip netns exec`, or say --ephemeral"
    )]
    PrivateMounts,
    /// The state does not fit into the maps.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Flows that begin faster than they are copied.
    #[error(
        "flows begin faster than they can be copied into a larger map: try again when there are fewer"
    )]
    Restless,
    /// Another seed than that of the running data path.
    #[error(
        "hash_seed is not the one that the running data path was started with: changing it moves \
         nearly every flow to another backend; run `xlb detach` and start the daemon again to \
         change it"
    )]
    SeedChanged,
    /// The program does not do what it must.
    #[error("the program fails its self-test: {0}")]
    SelfTest(String),
    /// The maps cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel cannot be asked.
    #[error("cannot {what}: {source}")]
    System {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

impl Error {
    /// An error of a file, for `map_err`.
    pub(super) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    /// An error of a map, for `map_err`.
    pub(super) fn map(name: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map {
            name,
            source: Box::new(source),
        }
    }

    pub(super) fn load(error: EbpfError) -> Self {
        match error {
            EbpfError::ProgramError(error) => Self::program(error),
            EbpfError::MapError(MapError::CreateError { name, io_error }) => Self::MakeMap {
                name,
                source: io_error,
            },
            other => Self::Load {
                reason: other.to_string(),
            },
        }
    }

    pub(super) fn program(error: ProgramError) -> Self {
        let reason = match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => format!("{io_error}\n{}", last_lines(&verifier_log.to_string())),
            other => other.to_string(),
        };
        Self::Load { reason }
    }
}

/// The verifier says what it minds at the end.
fn last_lines(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    let first = lines.len().saturating_sub(LINES);
    lines.get(first..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_verifiers_log_is_shown() {
        let log: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        let shown = last_lines(&log.join("\n"));
        assert_eq!(shown.lines().count(), 12);
        assert!(shown.ends_with("99"), "{shown}");
    }
}
