//! What the demonstration needs of the machine, asked before anything is made.

use std::{env, ffi::OsStr, path::Path};

use anyhow::{Result, bail, ensure};
use nix::{
    sys::statfs::{BPF_FS_MAGIC, statfs},
    unistd::Uid,
};

/// Where pins lie.
const BPF_FS: &str = "/sys/fs/bpf";

/// Programs that are called, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 3] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("nsenter", "util-linux"),
];

/// Asks for everything.
///
/// # Errors
/// A sentence about the first thing that is missing.
pub(super) fn all() -> Result<()> {
    ensure!(
        Uid::effective().is_root(),
        "the demonstration makes network namespaces and loads an XDP program, which needs root: \
         run it with sudo"
    );
    let path = env::var_os("PATH").unwrap_or_default();
    for (program, package) in PROGRAMS {
        if !is_installed(program, &path) {
            bail!("{program} is not installed: apt-get install {package}");
        }
    }
    let is_bpf = statfs(BPF_FS).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    ensure!(
        is_bpf,
        "there is no BPF file system at {BPF_FS}: mount -t bpf bpf {BPF_FS}"
    );
    Ok(())
}

fn is_installed(program: &str, path: &OsStr) -> bool {
    env::split_paths(path).any(|folder| is_file(&folder.join(program)))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_in_every_folder() {
        let path = OsStr::new("/nonexistent:/proc/self");
        assert!(is_installed("status", path));
        assert!(!is_installed("fd", path), "a folder is no program");
        assert!(!is_installed("no-such-program", path));
    }
}
