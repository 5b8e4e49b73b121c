//! The demonstration.

/// Flags of `xlb demo`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {}

/// Runs the demonstration.
///
/// # Errors
/// Where a step of it fails, or one of its figures is off.
pub fn run(Args {}: &Args) -> anyhow::Result<()> {
    anyhow::bail!("this build has no demonstration")
}
