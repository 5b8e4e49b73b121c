//! What runs in the guest: the tests and `xlb`, linked statically, and nothing that they would have to be
//! installed for.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    shell::{line, step},
    workspace,
};

/// The only target: what the guests' processor runs.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A test program that a guest runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Its name in the crate lb-tests.
    pub(crate) name: &'static str,
    /// Which of its tests, and how.
    args: &'static str,
    /// After how many seconds it hangs, on a machine that is emulated and busy.
    seconds: u32,
}

/// In this order. End to end only what needs no other program than `ip` and `ethtool`: the guest has
/// no curl, no nginx and no iperf3.
pub(crate) const STEPS: [Step; 4] = [
    Step {
        name: "programs",
        args: "--nocapture --test-threads=1",
        seconds: 5400,
    },
    Step {
        name: "fixtures",
        args: "--test-threads=1",
        seconds: 2700,
    },
    Step {
        name: "differential",
        args: "--nocapture",
        seconds: 2700,
    },
    Step {
        name: "e2e",
        args: "any_kernel:: --test-threads=1",
        seconds: 2700,
    },
];

/// The lines that the guest's first process reads, with `packets` random ones in the differential test.
pub(crate) fn script(packets: u32) -> String {
    let line = |Step {
                    name,
                    args,
                    seconds,
                }: &Step| {
        format!("{name} {seconds} env XLB_PACKETS={packets} /xlb/{name} {args}\n")
    };
    STEPS.iter().map(line).collect()
}

/// Builds them; where they lie, by name.
///
/// # Errors
/// If they do not build.
pub(crate) fn build(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    step("building xlb and the tests, linked statically: the guests have no libraries of theirs");
    let mut cargo = workspace::cargo("build");
    cargo
        .env("CARGO_TARGET_DIR", folder)
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("CARGO_PROFILE_DEV_STRIP", "symbols")
        // Not RUSTFLAGS: procedural macros cannot be linked statically.
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        )
        .args([
            "--target",
            TARGET,
            "--message-format=json-render-diagnostics",
        ])
        .args([
            "--package",
            "lb-userspace",
            "--package",
            "lb-tests",
            "--bin",
            "xlb",
            "--bin",
            "succeed",
        ]);
    for Step { name, .. } in STEPS {
        cargo.args(["--test", name]);
    }
    let what = line(&cargo);
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{what}`"))?;
    let output = child.stdout.take().context("no output to read")?;
    let mut built = BTreeMap::new();
    for line in BufReader::new(output).lines() {
        built.extend(executable(&line.context("cannot read what cargo says")?));
    }
    ensure!(child.wait()?.success(), "`{what}` failed");
    Ok(built)
}

/// Name and place of what one of cargo's messages says that it built.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    let executable = message.get("executable")?.as_str()?;
    Some((name.to_owned(), executable.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_told_from_cargos_other_messages() {
        let built =
            r#"{"reason":"compiler-artifact","target":{"name":"e2e"},"executable":"/t/e2e-1"}"#;
        let library = r#"{"reason":"compiler-artifact","target":{"name":"aya"},"executable":null}"#;
        let expected = ("e2e".to_owned(), PathBuf::from("/t/e2e-1"));
        assert_eq!(executable(built), Some(expected));
        assert_eq!(executable(library), None);
        assert_eq!(
            executable(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(executable("warning: no JSON"), None);
    }

    #[test]
    fn a_step_is_a_line() {
        let script = script(7);
        assert_eq!(script.lines().count(), STEPS.len());
        let first = script.lines().next().unwrap_or_default();
        let start = format!(
            "programs {} env XLB_PACKETS=7 /xlb/programs ",
            STEPS[0].seconds
        );
        assert!(first.starts_with(&start), "{first}");
    }
}
