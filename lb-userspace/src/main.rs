//! `xlb`: daemon and command line in one file.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_userspace::cli::main()
}
