//! Why a lab could not be made.

use std::io;

use thiserror::Error;

/// Why a lab could not be made, or something in it not be done.
#[derive(Debug, Error)]
pub enum LabError {
    /// A program is not installed.
    #[error("{program}: command not found: install {package}")]
    NotInstalled {
        /// What was called.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program could not be started.
    #[error("cannot start `{line}`")]
    Start {
        /// The command as one would type it.
        line: String,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{line}` failed: {message}")]
    Failed {
        /// The command as one would type it.
        line: String,
        /// What it said, or its exit status.
        message: String,
    },
    /// A namespace cannot be entered.
    #[error("cannot enter the network namespace {name}")]
    Enter {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A kernel setting cannot be written.
    #[error("cannot write {path} in the network namespace {name}")]
    Sysctl {
        /// The namespace.
        name: String,
        /// Below `/proc/sys`.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not become ready.
    #[error("no {what} in the network namespace {name} after 5 s")]
    NotReady {
        /// The namespace.
        name: String,
        /// What was waited for.
        what: String,
    },
    /// A process cannot be waited for or told to end.
    #[error("cannot end `{line}`")]
    Process {
        /// The command as one would type it.
        line: String,
        /// Why.
        source: io::Error,
    },
    /// The program that passes everything cannot be loaded.
    #[error("cannot load the program xdp_pass")]
    Load(#[source] Box<aya::EbpfError>),
    /// The program that passes everything is not in the object, or cannot be attached.
    #[error("cannot attach the program xdp_pass to {interface}")]
    Attach {
        /// Where to.
        interface: String,
        /// Why.
        source: Box<aya::programs::ProgramError>,
    },
    /// The object has no such program.
    #[error("the eBPF object has no XDP program xdp_pass: run `cargo xtask build-ebpf`")]
    NoPassProgram,
}
