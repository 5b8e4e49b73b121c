//! Connections under churn.

use anyhow::Result;

use crate::{
    build, kernel,
    setup::{self, Need},
    shell, workspace,
};

/// Builds and runs the churn of the crate lb-tests.
///
/// # Errors
/// If something that it needs is missing, or a connection broke that need not have.
pub(crate) fn run(args: &[String]) -> Result<()> {
    setup::programs(Need::Tests)?;
    kernel::require("churn")?;
    build::xlb(true)?;
    shell::step("counting broken connections");
    shell::run(
        workspace::cargo("run")
            .args(["--release", "--package", "lb-tests", "--bin", "churn", "--"])
            .args(args),
    )
}
