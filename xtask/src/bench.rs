//! Programs of the crate lb-tests that are no tests: the bench, connections under churn, the simulation.

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
    start(program, step, args)
}

/// Builds and runs the simulation, which needs neither kernel nor root.
///
/// # Errors
/// If it does not build.
pub(crate) fn simulate(seed: Option<u64>) -> Result<()> {
    // lb-userspace embeds the object.
    build::ebpf()?;
    let seed = seed.map(|seed| seed.to_string());
    start("simulate", "simulating", seed.as_slice())
}

fn start(program: &str, step: &str, args: &[String]) -> Result<()> {
    shell::step(step);
    shell::run(
        workspace::cargo("run")
            .args(["--release", "--package", "lb-tests", "--bin", program, "--"])
            .args(args),
    )
}
