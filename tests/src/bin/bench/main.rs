//! `cargo xtask bench [SECTION…]`: what things cost. It asserts bytes, verdicts and counts, never
//! times.
//!
//! * [`packets`]: nanoseconds that a packet costs in the data path; [`program`]: its instructions.
//! * [`moving`]: nanoseconds that a packet of a moving row costs.
//! * [`tables`]: what a slot table costs to build and to change.
//! * [`changes`]: how soon the data path follows health and configuration.
//! * [`memory`]: what daemon and maps take.
//! * [`health`]: how soon what died is out of the tables; what ten thousand probes a second cost.
//! * [`traffic`]: connections, throughput and failover in network namespaces, beside nftables.
//!
//! What they share: [`figures`] for times and medians, [`core`] for whether a core is ours, [`fleet`] for a balancer with many backends.
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench panics, so that the place is known"
)]

mod changes;
mod core;
mod edge;
mod figures;
mod fleet;
mod front;
mod health;
mod machine;
mod memory;
mod moving;
mod packets;
mod program;
mod tables;
mod traffic;

use std::{env, process::ExitCode};

/// What prints a table, by its name.
type Section = (&'static str, fn());

const SECTIONS: [Section; 8] = [
    ("packets", packets::print),
    ("moving", moving::print),
    ("program", program::print),
    ("tables", tables::print),
    ("changes", changes::print),
    ("memory", memory::print),
    ("health", health::print),
    ("traffic", traffic::print),
];

/// Prints the sections that are named, or all.
fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).collect();
    let names = SECTIONS.map(|(name, _)| name);
    if let Some(unknown) = wanted.iter().find(|word| !names.contains(&word.as_str())) {
        println!("no section {unknown}: there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    machine::print();
    for (name, print) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            print();
        }
    }
    ExitCode::SUCCESS
}
