//! The bench.

use anyhow::Result;

use crate::{
    build, kernel,
    setup::{self, Need},
    shell, workspace,
};

/// Builds and runs the bench of the crate lb-tests.
///
/// # Errors
/// If something that it needs is missing, or it fails.
pub(crate) fn run(args: &[String]) -> Result<()> {
    setup::programs(Need::Tests)?;
    kernel::require("bench")?;
    build::xlb(true)?;
    shell::step("measuring");
    shell::run(
        workspace::cargo("run")
            .args(["--release", "--package", "lb-tests", "--bin", "bench", "--"])
            .args(args),
    )
}
