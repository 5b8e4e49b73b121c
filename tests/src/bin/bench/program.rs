//! What the verifier made of the program: its size, its helper calls, its loads of single bytes.

use std::{collections::BTreeMap, process::Command};

use lb_common::backend::Mode;
use lb_tests::kernel::{INGRESS, Kernel};

use crate::edge;

/// Prints the figures.
pub(crate) fn print() {
    let kernel = Kernel::load(&edge::world(INGRESS, Mode::Nat).image());
    let info = kernel.program().info().expect("the program's figures");
    let walked = info.verified_instruction_count().unwrap_or_default();
    println!(
        "program: {} translated instructions, {walked} walked by the verifier",
        info.size_translated().unwrap_or_default() / 8
    );
    let dump = Command::new("bpftool")
        .args([
            "prog",
            "dump",
            "xlated",
            "id",
            &info.id().to_string(),
            "linum",
        ])
        .output()
        .expect("bpftool");
    let dump = String::from_utf8_lossy(&dump.stdout);
    println!("  helper and subprogram calls, by the line that makes them:");
    count(&dump, |instruction| instruction.contains(" call "));
    println!("  loads of single bytes, likewise:");
    count(&dump, |instruction| {
        instruction.contains("*(u8 *)(r") && instruction.contains("= *(")
    });
    println!();
}

/// Counts the instructions of a kind by source line.
fn count(dump: &str, is_meant: impl Fn(&str) -> bool) {
    let mut lines: BTreeMap<&str, u32> = BTreeMap::new();
    let mut line = "";
    for text in dump.lines().map(str::trim) {
        if let Some(source) = text.strip_prefix(';') {
            line = source.trim();
        } else if is_meant(text) {
            *lines.entry(line).or_default() += 1;
        }
    }
    if lines.is_empty() {
        println!("    none");
    }
    for (line, n) in lines {
        println!("    {n} × {line}");
    }
}
