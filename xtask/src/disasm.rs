//! The instructions of the eBPF object.

use std::process::Command;

use anyhow::{Result, anyhow};

use crate::{
    build,
    shell::{self, find},
    workspace,
};

/// Prints the instructions of `functions`, of all if there are none.
///
/// # Errors
/// If the object does not build, or no disassembler is installed.
pub(crate) fn run(functions: &[String]) -> Result<()> {
    build::ebpf()?;
    let objdump = std::iter::once("llvm-objdump".to_owned())
        .chain(
            (14..=30)
                .rev()
                .map(|version| format!("llvm-objdump-{version}")),
        )
        .find_map(|name| find(&name))
        .ok_or_else(|| anyhow!("llvm-objdump not found: install the package llvm"))?;
    let mut command = Command::new(objdump);
    command.args([
        "--disassemble",
        "--mcpu=v3",
        "--no-show-raw-insn",
        "--reloc",
    ]);
    if !functions.is_empty() {
        command.arg(format!("--disassemble-symbols={}", functions.join(",")));
    }
    shell::run(command.arg(workspace::object()))
}
