//! Puts the eBPF objects where `aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xlb.o"))`
//! finds them.
//!
//! They come from `cargo xtask build-ebpf`; the environment variable `XLB_BPF_OBJECT` names another one, beside which
//! its `trace.o` is.

use std::{
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

const OVERRIDE: &str = "XLB_BPF_OBJECT";

fn main() {
    if let Err(error) = embed() {
        directive("error", &error);
    }
}

fn embed() -> Result<(), String> {
    directive("rerun-if-env-changed", OVERRIDE);
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("..");
    let object = if let Some(object) = env::var_os(OVERRIDE) {
        PathBuf::from(object)
    } else {
        warn_if_stale(&workspace);
        workspace.join("target/bpf/xlb.o")
    };
    let out = PathBuf::from(variable("OUT_DIR")?);
    for (from, to) in [
        (object.with_file_name("trace.o"), "trace.o"),
        (object, "xlb.o"),
    ] {
        watch(&from);
        copy(&from, &out.join(to))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    match fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "the eBPF object is missing: run `cargo xtask build-ebpf` (looked for {})",
            from.display()
        )),
        Err(error) => Err(format!("cannot copy {}: {error}", from.display())),
    }
}

/// Compares the sources with what cargo linked, not with the object, which keeps its time while its
/// bytes are the same.
fn warn_if_stale(workspace: &Path) {
    let sources = ["lb-ebpf/src", "lb-common/src"].map(|folder| workspace.join(folder));
    let linked = workspace.join("target/bpf/bpfel-unknown-none/release/xlb");
    for folder in &sources {
        watch(folder);
    }
    watch(&linked);
    let newest = sources.iter().filter_map(|folder| newest(folder)).max();
    if modified(&linked).is_some_and(|linked| Some(linked) < newest) {
        directive(
            "warning",
            "the eBPF object is older than its sources: run `cargo xtask build-ebpf`",
        );
    }
}

/// When the newest file below `path` was written.
fn newest(path: &Path) -> Option<SystemTime> {
    let Ok(entries) = fs::read_dir(path) else {
        return modified(path);
    };
    entries
        .flatten()
        .filter_map(|entry| newest(&entry.path()))
        .max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn watch(path: &Path) {
    directive("rerun-if-changed", &path.display().to_string());
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}

fn directive(name: &str, value: &str) {
    println!("cargo::{name}={value}");
}
