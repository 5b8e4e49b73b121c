//! Programs of the crate lb-tests that are no tests: the bench, and connections under churn.

use anyhow::Result;

use crate::{
    build, kernel,
    setup::{self, Need},
    shell, workspace,
};

/// Builds and runs one, optimised.
///
/// # Errors
/// If something that it needs is missing, or it fails.
pub(crate) fn run(program: &str, step: &str, args: &[String]) -> Result<()> {
    setup::programs(Need::Tests)?;
    kernel::require(program)?;
    build::xlb(true)?;
    shell::step(step);
    shell::run(
        workspace::cargo("run")
            .args(["--release", "--package", "lb-tests", "--bin", program, "--"])
            .args(args),
    )
}
