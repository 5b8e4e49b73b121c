//! What the documentation says of files, reasons and metrics is so.

#![expect(clippy::unwrap_used, reason = "tests panic, their helpers too")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use lb_common::{AnswerReason, DropReason, PassReason};
use lb_userspace::config;

#[test]
fn every_example_is_a_valid_configuration() {
    let folder = root().join("deploy/examples");
    let files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!files.is_empty());
    for file in files {
        config::load(&file).unwrap_or_else(|report| panic!("{report}"));
    }
}

#[test]
fn the_readme_s_configuration_is_valid() {
    let readme = read("README.md");
    let mut blocks = readme.split("```yaml\n").skip(1).peekable();
    assert!(blocks.peek().is_some());
    for block in blocks {
        let (yaml, _) = block.split_once("```").unwrap();
        config::parse("README.md", yaml.as_bytes()).unwrap_or_else(|report| panic!("{report}"));
    }
}

#[test]
fn every_reason_has_a_row_with_its_number_and_its_explanation() {
    let operations = read("docs/operations.md");
    let row = |label: &str, number: u32, explanation: &str| {
        let row = format!("| `{label}` | {number} | {} |", explanation.trim());
        assert!(operations.contains(&row), "missing: {row}");
    };
    for reason in DropReason::ALL {
        row(reason.label(), reason.index(), reason.explanation());
    }
    for reason in AnswerReason::ALL {
        row(reason.label(), reason.index(), reason.explanation());
    }
    for reason in PassReason::ALL {
        row(reason.label(), reason.index(), reason.explanation());
    }
}

#[test]
fn every_metric_has_a_row_and_every_row_is_a_metric() {
    let sources = ["events", "families"]
        .map(|module| read(&format!("lb-userspace/src/metrics/{module}.rs")))
        .concat();
    let metrics: BTreeSet<&str> = sources
        .split('"')
        .filter(|t| t.starts_with("xlb_"))
        .collect();
    let operations = read("docs/operations.md");
    let rows: BTreeSet<&str> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with("xlb_"))
        .collect();
    assert_eq!(metrics, rows);
}

#[test]
fn every_file_with_unsafe_code_is_named() {
    let architecture = read("ARCHITECTURE.md");
    for crate_name in ["lb-common", "lb-ebpf", "lb-userspace"] {
        for file in sources(&root().join(crate_name).join("src")) {
            let code = fs::read_to_string(&file).unwrap();
            if !code.contains("unsafe {") && !code.contains("unsafe impl") {
                continue;
            }
            let name = file.strip_prefix(root()).unwrap().display();
            let row = format!("| `{name}` |");
            assert!(architecture.contains(&row), "missing: {row}");
        }
    }
}

/// Rust files of a folder and the folders in it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(extension) if extension == "rs" => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}
