//! bpf-linker, inside this project only.

use std::process::Command;

use anyhow::Result;

use crate::{
    shell::{output, run, step},
    workspace,
};

/// The version whose LLVM is the compiler's.
const VERSION: &str = "0.10.1";

/// Builds bpf-linker into `target/tools`, unless it is there.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn ensure() -> Result<()> {
    let installed = workspace::tools().join("bin/bpf-linker");
    let version = output(Command::new(installed).arg("--version"));
    if version.is_ok_and(|version| version.trim().ends_with(VERSION)) {
        return Ok(());
    }
    step(&format!(
        "building bpf-linker {VERSION} into target/tools: it links the eBPF object (about 1 min)"
    ));
    run(workspace::cargo("install")
        .env("CARGO_TARGET_DIR", workspace::target().join("tools/build"))
        .args(["bpf-linker", "--version", VERSION, "--locked", "--root"])
        .arg(workspace::tools()))
}
