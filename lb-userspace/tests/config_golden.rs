//! Golden pairs: `data/good/*.yaml` with the model it means (`.json`), `data/bad/*.yaml` with the
//! exact report (`.txt`).
//!
//! A new case is one file: write the YAML, run with `UPDATE_GOLDEN=1`, and read what was made of it
//! before it is committed.

#![expect(clippy::unwrap_used, reason = "tests panic, their helpers too")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use lb_userspace::config::{self, Parsed, Report};
use serde_json::json;

#[test]
fn good_files_mean_what_their_json_says() {
    for yaml in cases("good") {
        let parsed = parse(&yaml).unwrap_or_else(|report| panic!("{report}"));
        let notes: Vec<_> = parsed.notes.iter().map(|note| note.render(false)).collect();
        let found = json!({ "config": parsed.config, "notes": notes });
        let found = serde_json::to_string_pretty(&found).unwrap() + "\n";
        compare(&yaml.with_extension("json"), &found);
    }
}

#[test]
fn bad_files_are_refused_with_exactly_their_report() {
    for yaml in cases("bad") {
        let report = match parse(&yaml) {
            Ok(parsed) => panic!("{} was accepted as {parsed:#?}", yaml.display()),
            Err(report) => report,
        };
        compare(&yaml.with_extension("txt"), &report.render(false));
    }
}

#[test]
fn every_mistake_lies_in_its_file_and_has_a_hint() {
    for yaml in cases("bad") {
        let bytes = fs::read(&yaml).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.split('\n').collect();
        let report = parse(&yaml).unwrap_err();
        assert!(report.count() > 0);
        for diagnostic in report.diagnostics() {
            let line = lines[diagnostic.line - 1].trim_start_matches('\u{feff}');
            let before: String = line.chars().take(diagnostic.column - 1).collect();
            assert!(
                line[before.len()..].starts_with(&diagnostic.text),
                "{}: {diagnostic:#?}",
                yaml.display()
            );
            let hint = diagnostic.hint.as_deref().unwrap_or_default();
            assert!(!hint.is_empty(), "{}: {diagnostic:#?}", yaml.display());
        }
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    for yaml in cases("bad") {
        let report = parse(&yaml).unwrap_err();
        assert_eq!(without_escapes(&report.render(true)), report.render(false));
    }
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(folder);
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn parse(yaml: &Path) -> Result<Parsed, Report> {
    let name = yaml.file_name().unwrap().to_str().unwrap();
    config::parse(name, &fs::read(yaml).unwrap())
}

fn compare(golden: &Path, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, found).unwrap();
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    assert_eq!(expected, found, "{}", golden.display());
}

/// Text without SGR sequences (ECMA-48 §8.3.117).
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}
