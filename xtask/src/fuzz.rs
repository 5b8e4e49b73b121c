//! The fuzz target: arbitrary frames through the host build of the data path.
//!
//! `fuzz/` is a workspace of its own, as all of it is instrumented. libFuzzer comes with the crate
//! libfuzzer-sys and is driven directly: the compiler's flags below are what `cargo fuzz` would give,
//! without a nightly toolchain. Everything is kept below `target/fuzz`, the corpus from run to run.

mod report;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    setup::{self, Need},
    shell::{self, line, output, say, step},
    workspace,
};
use report::Report;

/// What the verb is told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long
    #[arg(default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Tells what becomes of each frame of an input, such as a finding
    #[arg(long, value_name = "FILE", conflicts_with = "seconds")]
    explain: Option<PathBuf>,
}

/// Edges, comparisons and a table of places, for libFuzzer to be led by.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs the fuzz target, or explains an input.
///
/// # Errors
/// If it cannot be built or started. A finding is a failure, and no error.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(file) = &options.explain {
        shell::run(
            cargo("run")
                .args(["--bin", "explain", "--"])
                .arg(absolute(file)?),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    setup::programs(Need::Fuzz)?;
    step("building the fuzz target");
    let fuzzer = build()?;
    step("writing the seeds");
    let [corpus, seeds, findings] = ["corpus", "seeds", "findings"].map(|name| folder().join(name));
    let words = folder().join("words");
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    shell::run(
        cargo("run")
            .args(["--bin", "seeds", "--"])
            .args([&seeds, &words]),
    )?;
    step(&format!("fuzzing for {} s", options.seconds));
    let mut command = Command::new("nice");
    command
        .arg(fuzzer)
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-dict={}", words.display()))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .args(["-max_len=4096", "-timeout=10", "-print_final_stats=1"])
        .args([corpus, seeds]);
    watch(&mut command)
}

/// `target/fuzz`.
fn folder() -> PathBuf {
    workspace::target().join("fuzz")
}

/// Cargo in the workspace of the fuzz target.
pub(crate) fn cargo(verb: &str) -> Command {
    let mut cargo = workspace::cargo(verb);
    cargo.env("CARGO_TARGET_DIR", folder()).args([
        "--quiet",
        "--release",
        "--manifest-path",
        "fuzz/Cargo.toml",
    ]);
    cargo
}

/// Builds the target; where it is.
fn build() -> Result<PathBuf> {
    let triple = triple()?;
    // With a target named, build scripts and macros are left without instrumentation.
    shell::run(
        cargo("build")
            .env("RUSTFLAGS", INSTRUMENTED)
            .args(["--bin", "forward", "--features", "fuzzer"])
            .args(["--target", &triple]),
    )?;
    Ok(folder().join(triple).join("release/forward"))
}

fn triple() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let mut lines = version.lines();
    let host = lines.find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}

fn absolute(file: &Path) -> Result<PathBuf> {
    fs::canonicalize(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Runs the fuzzer; shows what it finds, and at the end how far it came.
fn watch(fuzzer: &mut Command) -> Result<ExitCode> {
    let what = line(fuzzer);
    let mut child = fuzzer
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{what}`"))?;
    let stderr = child.stderr.take().context("no output to read")?;
    let mut report = Report::default();
    for bytes in BufReader::new(stderr).split(b'\n') {
        let bytes = bytes.context("cannot read what the fuzzer says")?;
        let text = String::from_utf8_lossy(&bytes);
        if report.read(&text) {
            say(&text);
        }
    }
    let success = child.wait()?.success();
    say(&report.to_string());
    Ok(if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
