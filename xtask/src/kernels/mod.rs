//! The kernel matrix: xlb on Debian's own kernels, from the oldest that it supports to the newest that
//! there is, emulated by QEMU.
//!
//! ```text
//! matrix ─► image (apt) ─► modules ─┐
//! guest: tests, linked statically ──┴─► initramfs (cpio) ─► qemu ─► log ─► report
//! ```
//!
//! Everything lies below `target/kernels`: what was fetched stays there, a run has a folder of its own.

mod apt;
mod cpio;
mod files;
mod guest;
mod image;
mod initramfs;
mod matrix;
mod modules;
mod outcome;
mod qemu;
mod report;

use std::{
    fs,
    io::{Write as _, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    build,
    setup::{self, Need},
    shell::step,
    workspace,
};
use apt::{Installed, Root};
use image::Kernel;
use initramfs::Contents;
use matrix::Suite;
use outcome::{Guest, Outcome};
use report::Report;

/// What the verb is told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Names of Debian suites, or versions of their kernels; all of the matrix without any
    suites: Vec<String>,
    /// Fetches the kernels again: there may be newer ones
    #[arg(long)]
    fresh: bool,
    /// Random packets of the differential test on each kernel
    #[arg(long, default_value_t = 30_000)]
    packets: u32,
}

/// Runs the matrix: a line for each kernel, and a last one with their sum.
///
/// # Errors
/// If something that it needs is missing, or something does not build. A kernel that fails is no error
/// but an exit code.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the kernel matrix runs on Linux on x86-64 only: its guests have that processor"
    );
    let suites = matrix::select(&options.suites)?;
    setup::programs(Need::Kernels)?;
    qemu::ensure(&folder().join("qemu"))?;
    build::ebpf()?;
    let contents = Contents {
        programs: guest::build(&folder().join("build"))?,
        busybox: busybox()?,
        packets: options.packets,
    };
    let run = folder().join("runs").join(std::process::id().to_string());
    fs::create_dir_all(&run).with_context(|| format!("cannot make {}", run.display()))?;
    let mut results = Vec::new();
    for suite in suites {
        let result = Outcome {
            suite,
            result: test(suite, &contents, options.fresh, &run),
        };
        writeln!(stdout(), "{result}")?;
        results.push(result);
    }
    outcome::conclude(&results)
}

fn folder() -> PathBuf {
    workspace::target().join("kernels")
}

/// A busybox that is linked statically, fetched unless it is there.
fn busybox() -> Result<PathBuf> {
    const PACKAGE: &str = "busybox-static";
    let folder = folder().join("busybox");
    let unpacked = folder.join("unpacked");
    let busybox = unpacked.join("bin/busybox");
    if !busybox.exists() {
        step(&format!(
            "fetching {PACKAGE}: the guests' first process is a shell script"
        ));
        let root = Root::new(
            &folder.join("apt"),
            &[("debian", "bookworm")],
            Installed::Nothing,
        )?;
        root.unpack(PACKAGE, &unpacked)?;
    }
    Ok(busybox)
}

/// Boots a suite's kernel and lets it run the tests.
fn test(suite: Suite, contents: &Contents, fresh: bool, run: &Path) -> Result<Guest> {
    let kernel = Kernel::of(suite, &folder().join(suite.name), fresh)?;
    let release = kernel.release.clone();
    step(&format!("testing on Linux {release}"));
    let modules = modules::load_order(&kernel)?;
    let (initramfs, log) = (
        run.join(suite.name),
        run.join(format!("{}.log", suite.name)),
    );
    initramfs::write(contents, &modules, &initramfs)?;
    let began = SystemTime::now();
    let end = qemu::boot(&kernel.vmlinuz()?, &initramfs, &log)?;
    let seconds = began.elapsed().unwrap_or_default().as_secs();
    fs::remove_file(initramfs)?;
    let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let report = Report::of(&String::from_utf8_lossy(&said));
    Ok(Guest {
        summary: report.summary(),
        faults: report.faults(&release, end),
        release,
        log,
        seconds,
    })
}
