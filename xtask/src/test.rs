//! All tests, and their sum.

use std::{
    io::{BufRead as _, BufReader, Write as _, stdout},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{
    build, fuzz, kernel,
    setup::{self, Need},
    shell::{self, line, step},
    workspace,
};

/// Results of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

impl Tally {
    /// What a line of a test program adds, such as
    /// `test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out`.
    pub(crate) fn of(line: &str) -> Self {
        let Some((_, result)) = line.split_once("test result: ") else {
            return Self::default();
        };
        let count = |label: &str| {
            let (before, _) = result.split_once(label)?;
            before.split_whitespace().next_back()?.parse().ok()
        };
        Self {
            passed: count(" passed").unwrap_or(0),
            failed: count(" failed").unwrap_or(0),
        }
    }

    /// Adds another one.
    pub(crate) const fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Builds everything and runs the tests whose names contain `filter`. The last line is their sum.
///
/// # Errors
/// If something that tests need is missing, or something does not build.
pub(crate) fn run(filter: Option<&str>) -> Result<ExitCode> {
    setup::programs(Need::Tests)?;
    kernel::require("test")?;
    build::ebpf()?;
    step("building xlb and the tests");
    // With the tests' features, so that `cargo test` finds every dependency built. The binary is
    // for the tests that start it: cargo builds it for tests of its own package only.
    shell::run(workspace::cargo("build").args(["--workspace", "--bins", "--tests"]))?;
    step("running the tests");
    let mut cargo = workspace::cargo("test");
    cargo.args(["--workspace", "--no-fail-fast"]).args(filter);
    let (mut tally, success) = watch(&mut cargo)?;
    let (seeds, laws_hold) = watch(fuzz::cargo("test").arg("--lib").args(filter))?;
    tally.add(seeds);
    writeln!(stdout(), "{} passed, {} failed", tally.passed, tally.failed)?;
    Ok(if success && laws_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs `cargo test`, shows its output and adds up its results; whether it succeeded.
fn watch(cargo: &mut Command) -> Result<(Tally, bool)> {
    let what = line(cargo);
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{what}`"))?;
    let output = child.stdout.take().context("no output to read")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.with_context(|| format!("cannot read what `{what}` says"))?;
        writeln!(stdout(), "{line}")?;
        tally.add(Tally::of(&line));
    }
    Ok((tally, child.wait()?.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_results_and_nothing_else() {
        let failed = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured";
        assert_eq!(
            Tally::of(failed),
            Tally {
                passed: 12,
                failed: 3
            }
        );
        assert_eq!(Tally::of("test config::passes ... ok"), Tally::default());
        assert_eq!(Tally::of("5 passed, 7 failed"), Tally::default());
    }
}
