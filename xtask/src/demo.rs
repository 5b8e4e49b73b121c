//! The demonstration.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Error, Result};

use crate::{
    build, kernel,
    setup::{self, Need},
    shell::{line, step},
    workspace,
};

/// Builds xlb and becomes `xlb demo`.
///
/// # Errors
/// If something that it needs is missing, or xlb does not build. On success it does not return.
pub(crate) fn run(args: &[String]) -> Result<()> {
    setup::programs(Need::Demo)?;
    kernel::require("demo")?;
    build::xlb(true)?;
    let mut xlb = Command::new(workspace::target().join("release/xlb"));
    xlb.arg("demo").args(args);
    step(&line(&xlb));
    // The process is replaced, so that signals and the exit code are the demo's own.
    Err(Error::new(xlb.exec())).context("cannot start xlb")
}
