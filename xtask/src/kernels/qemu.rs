//! The emulator: no virtualisation is asked of the host, so that the matrix runs everywhere alike.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::apt::{Installed, Root};
use crate::{
    setup,
    shell::{find, is_root, output, run, step},
};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// Version 7.2 of Debian 12 crashes guests with Linux 6.12 now and then.
const OLDEST: u32 = 10;

/// QEMU's exit code after the guest wrote 16 to isa-debug-exit: twice that, and one.
const SUCCESS: i32 = 33;

/// After how long a guest that says nothing hangs: longer than any of its steps may take.
const SILENCE: Duration = Duration::from_mins(100);

/// From one look at the guest to the next.
const POLL: Duration = Duration::from_millis(100);

/// Installs QEMU unless there is one that is new enough.
///
/// # Errors
/// If it cannot be installed, or what Debian has is too old.
pub(crate) fn ensure(folder: &Path) -> Result<()> {
    if version().is_some_and(|version| version >= OLDEST) {
        return Ok(());
    }
    step(&format!(
        "installing {PACKAGE} {OLDEST} or later: other kernels run in it"
    ));
    ensure!(
        is_root(),
        "installing needs root: install {PACKAGE} {OLDEST} or later"
    );
    if is_bookworm() {
        install_backport(folder)?;
    } else {
        setup::install(&[PACKAGE])?;
    }
    match version() {
        Some(version) if version >= OLDEST => Ok(()),
        Some(version) => bail!("{PROGRAM} has version {version}, expected {OLDEST} or later"),
        None => bail!("{PROGRAM} is not there after {PACKAGE} was installed"),
    }
}

fn is_bookworm() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release
        .lines()
        .any(|line| line == "VERSION_CODENAME=bookworm")
}

/// Debian 12 has it among its backports, which the host's apt need not know.
fn install_backport(folder: &Path) -> Result<()> {
    const BACKPORTS: &str = "bookworm-backports";
    let suites = [("debian", "bookworm"), ("debian", BACKPORTS)];
    let root = Root::new(folder, &suites, Installed::OfHost)?;
    let install = [
        "-q",
        "install",
        "--yes",
        "--no-install-recommends",
        "-t",
        BACKPORTS,
        PACKAGE,
    ];
    run(root.command("apt-get").args(install))
}

/// The major version of the one that is installed.
fn version() -> Option<u32> {
    let said = output(Command::new(find(PROGRAM)?).arg("--version")).ok()?;
    major(&said)
}

/// From `QEMU emulator version 10.0.2 (Debian …)`.
fn major(said: &str) -> Option<u32> {
    let (_, version) = said.split_once("version ")?;
    version.split('.').next()?.parse().ok()
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It said that everything succeeded.
    Success,
    /// It panicked, gave up or was switched off; or QEMU failed.
    Failure(Option<i32>),
    /// It was killed after [`SILENCE`].
    Hang,
}

/// Runs a guest until it ends. What it says on its console becomes a file.
///
/// # Errors
/// If QEMU cannot be started.
pub(crate) fn boot(vmlinuz: &Path, initramfs: &Path, log: &Path) -> Result<End> {
    let mut command = Command::new(PROGRAM);
    command
        // Never KVM: where there is one it need not work for these guests.
        .args([
            "-accel", "tcg", "-cpu", "max", "-machine", "q35", "-m", "1024", "-smp", "2",
        ])
        .args(["-display", "none", "-no-reboot", "-nodefaults"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .arg("-kernel")
        .arg(vmlinuz)
        .arg("-initrd")
        .arg(initramfs)
        // Warnings of the kernel are seen, a panic ends the guest. Guards of indirect calls are slow in emulation.
        .args([
            "-append",
            "console=ttyS0 panic=-1 oops=panic loglevel=5 mitigations=off",
        ]);
    let errors = File::create(said(log)).context("cannot write what QEMU says")?;
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn();
    let mut child = child.with_context(|| format!("cannot start {PROGRAM}"))?;
    let ended = wait(&mut child, log)?;
    Ok(ended.map_or(End::Hang, |status| end(status.code())))
}

/// Where QEMU's own words are, beside a guest's log.
pub(crate) fn said(log: &Path) -> PathBuf {
    log.with_extension("qemu")
}

/// Waits for the guest's end; `None` if it had to be killed.
fn wait(child: &mut Child, log: &Path) -> Result<Option<ExitStatus>> {
    let (mut silent, mut length) = (Duration::ZERO, 0);
    while silent < SILENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(POLL);
        silent += POLL;
        let before = length;
        length = log.metadata().map_or(0, |log| log.len());
        if length != before {
            silent = Duration::ZERO;
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// By QEMU's exit code; it has none where it was killed.
const fn end(code: Option<i32>) -> End {
    match code {
        Some(SUCCESS) => End::Success,
        code => End::Failure(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_guests_own_word_is_success() {
        assert_eq!(end(Some(33)), End::Success);
        for code in [Some(0), Some(1), Some(16), None] {
            assert_eq!(end(code), End::Failure(code));
        }
    }

    #[test]
    fn the_version_is_read() {
        let said = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c) 2003";
        assert_eq!(major(said), Some(10));
        assert_eq!(major("bash: not found"), None);
    }
}
