//! Format, lints, licences and advisories.

use anyhow::Result;

use crate::{
    build, fuzz, setup,
    shell::{self, output, say, step},
    workspace,
};

/// Checks everything that can be checked without running the product.
///
/// # Errors
/// At the first check that fails.
pub(crate) fn run() -> Result<()> {
    format()?;
    host()?;
    ebpf()?;
    fuzz()?;
    dependencies()
}

fn format() -> Result<()> {
    step("format");
    shell::run(workspace::cargo("fmt").args(["--all", "--check"]))?;
    for workspace in ["lb-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        shell::run(workspace::cargo("fmt").args(["--check", "--manifest-path", workspace]))?;
    }
    Ok(())
}

fn host() -> Result<()> {
    // lb-userspace embeds the object, also for clippy.
    build::ebpf()?;
    step("lints of the workspace");
    shell::run(workspace::cargo("clippy").args([
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))
}

fn ebpf() -> Result<()> {
    step("lints of lb-ebpf");
    shell::run(
        setup::ebpf()?
            .cargo("clippy")
            .args(["--", "--deny", "warnings"]),
    )
}

fn fuzz() -> Result<()> {
    step("lints of fuzz");
    // What it shares with the workspace was looked at there.
    shell::run(fuzz::cargo("clippy").args([
        "--all-targets",
        "--no-deps",
        "--",
        "--deny",
        "warnings",
    ]))
}

fn dependencies() -> Result<()> {
    let deny = || {
        let mut cargo = workspace::cargo("deny");
        cargo.env("PATH", workspace::path_with_tools());
        cargo
    };
    if output(deny().arg("--version")).is_err() {
        say(
            "licences and advisories: not checked, cargo-deny is not installed \
             (cargo install cargo-deny --locked --root target/tools)",
        );
        return Ok(());
    }
    step("licences and advisories");
    shell::run(deny().arg("check"))?;
    for workspace in ["lb-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        shell::run(deny().args(["--manifest-path", workspace, "check"]))?;
    }
    Ok(())
}
