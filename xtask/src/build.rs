//! Building the eBPF object and the binary that carries it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use object::{build::elf, elf::SHT_STRTAB};

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
    )?;
    step("building it once more, as it explains packets");
    run(toolchain
        .cargo("build")
        .args(["--features", "trace", "--bin", "xlb"]))?;
    copy_if_changed(
        &built.join("xlb"),
        &workspace::object().with_file_name("trace.o"),
    )
}

/// Keeps an object without what is for debuggers alone, which is five sixths of it: `xlb` carries it, and reads all of it
/// at its start. And keeps the modification time of an unchanged object, so that nothing that embeds it is rebuilt.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let new = stripped(&new).with_context(|| format!("cannot strip {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
}

/// The same ELF file without the sections of DWARF. BTF stays.
fn stripped(elf: &[u8]) -> Result<Vec<u8>> {
    let mut builder = elf::Builder::read(elf)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        let name = name.strip_prefix(b".rel").unwrap_or(name);
        section.delete |= name.starts_with(b".debug_");
    }
    builder.delete_orphans();
    // LLVM has one table of names for sections and symbols, the builder two.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.data = elf::SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
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
