//! Building the eBPF object and the binary that carries it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    setup,
    shell::{run, step},
    workspace,
};

/// Builds lb-ebpf; the result is [`workspace::object`].
///
/// # Errors
/// If the toolchain cannot be brought, or the program does not build.
pub(crate) fn ebpf() -> Result<()> {
    let toolchain = setup::ebpf()?;
    step("building the eBPF object");
    run(&mut toolchain.cargo("build"))?;
    let built = workspace::target().join("bpf/bpfel-unknown-none/release");
    copy_if_changed(&built.join("xlb"), &workspace::object())?;
    copy_if_changed(
        &built.join("bench"),
        &workspace::object().with_file_name("bench.o"),
    )
}

/// Keeps the modification time of an unchanged object, so that nothing that embeds it is rebuilt.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
}

/// Builds the eBPF object and the binary `xlb` around it.
///
/// # Errors
/// If one of them does not build.
pub(crate) fn xlb(release: bool) -> Result<()> {
    ebpf()?;
    step("building xlb");
    let mut cargo = workspace::cargo("build");
    cargo.args(["--package", "lb-userspace", "--bin", "xlb"]);
    if release {
        cargo.arg("--release");
    }
    run(&mut cargo)
}
