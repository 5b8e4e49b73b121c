//! What the figures were measured on: without it they say little.

use std::{fs, path::Path, thread};

/// What makes branches and calls dearer where a processor leaks.
const MITIGATIONS: [&str; 3] = ["spectre_v2", "retbleed", "spec_rstack_overflow"];

/// Prints processor, kernel and mitigations.
pub(crate) fn print() {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "machine: {}, {cpus} CPUs{}",
        cpu_model(),
        if is_virtual() { ", virtual" } else { "" }
    );
    println!(
        "kernel: Linux {} {}",
        first_line(Path::new("/proc/sys/kernel/osrelease")),
        std::env::consts::ARCH
    );
    for name in MITIGATIONS {
        let folder = Path::new("/sys/devices/system/cpu/vulnerabilities");
        println!("  {name}: {}", first_line(&folder.join(name)));
    }
    println!();
}

fn cpu_model() -> String {
    cpu_info("model name").unwrap_or_else(|| "unknown processor".to_owned())
}

fn is_virtual() -> bool {
    cpu_info("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
}

/// A field of the first processor.
fn cpu_info(field: &str) -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.trim() == field)?;
    Some(value.trim().to_owned())
}

fn first_line(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}
