//! Brings what is missing, one subject a file. Each step is skipped when its result is there, and
//! otherwise says what it does and why before it does it.

mod linker;
mod packages;
mod toolchain;

pub(crate) use packages::{Need, install};
pub(crate) use toolchain::Toolchain;

use anyhow::Result;

use crate::{shell::say, workspace};

/// What builds the eBPF object: compiler and linker.
///
/// # Errors
/// If one of them is missing and cannot be brought.
pub(crate) fn ebpf() -> Result<Toolchain> {
    let toolchain = toolchain::ensure()?;
    linker::ensure()?;
    Ok(toolchain)
}

/// Programs that `need` calls.
///
/// # Errors
/// If one of them is missing and cannot be installed.
pub(crate) fn programs(need: Need) -> Result<()> {
    packages::ensure(need)
}

/// All that any verb needs.
///
/// # Errors
/// At the first thing that is missing and cannot be brought.
pub(crate) fn everything() -> Result<()> {
    let toolchain = ebpf()?;
    say(&format!("eBPF compiler: {}", toolchain.describe()));
    say(&format!(
        "eBPF linker: {}",
        workspace::tools().join("bin/bpf-linker").display()
    ));
    programs(Need::Tests)?;
    say("programs for tests, demo and bench: all there");
    Ok(())
}
