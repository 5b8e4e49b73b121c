//! What the kernel and the user must be able to do before namespaces and XDP can be used.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell::{is_root, output, run, step};

/// Where the BPF file system is mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// Checks what `verb` needs of the machine, and mounts the BPF file system if need be.
///
/// # Errors
/// The first thing that is missing, and what to do about it.
pub(crate) fn require(verb: &str) -> Result<()> {
    ensure!(
        is_root(),
        "`cargo xtask {verb}` needs root, for network namespaces and XDP: \
         run it as root, or as `sudo --preserve-env=HOME,PATH cargo xtask {verb}`"
    );
    ensure!(
        Path::new("/sys/kernel/btf/vmlinux").exists(),
        "this kernel has no BTF (/sys/kernel/btf/vmlinux): \
         a kernel with CONFIG_DEBUG_INFO_BTF=y is needed"
    );
    bpf_file_system()?;
    network_namespaces()
}

fn bpf_file_system() -> Result<()> {
    let filesystems = fs::read_to_string("/proc/filesystems").context("cannot read /proc")?;
    if !filesystems.lines().any(|line| line.ends_with("\tbpf")) {
        bail!("this kernel has no BPF file system: a kernel with CONFIG_BPF_SYSCALL=y is needed");
    }
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc")?;
    let mounted = |line: &str| line.contains(&format!(" {BPFFS} bpf "));
    if mounts.lines().any(mounted) {
        return Ok(());
    }
    step(&format!(
        "mounting the BPF file system at {BPFFS}: pins lie there"
    ));
    run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))
}

/// Makes a veth pair in a namespace that vanishes at once.
fn network_namespaces() -> Result<()> {
    output(Command::new("unshare").args(["--net", "ip", "link", "add", "type", "veth"]))
        .map(drop)
        .context(
            "cannot make a veth pair in a network namespace: \
             a kernel with CONFIG_NET_NS and CONFIG_VETH is needed, and not a restricted container",
        )
}
