//! What a slot table costs to build, and to take a backend out of and back in.

use std::{net::Ipv4Addr, time::Duration};

use lb_userspace::slot_table::{Member, Part, SlotTable};

use crate::figures::{median, ms, timed};

const SEED: u64 = 0x786c_6220_7365_6564;
const BACKENDS: [u16; 3] = [10, 100, 1000];
const SLOTS: [u32; 2] = [1 << 12, 1 << 16];
const WEIGHTS: [(&str, &[u16]); 2] = [("equal", &[1]), ("1 1 2 5", &[1, 1, 2, 5])];
const ROUNDS: usize = 21;

/// Prints the table.
pub(crate) fn print() {
    println!("slot tables, in the daemon's memory: milliseconds, medians of {ROUNDS}\n");
    println!(
        "{:>8} {:>8}  {:<8} {:>8} {:>14} {:>14}",
        "backends", "slots", "weights", "build", "backend dies", "it returns"
    );
    for backends in BACKENDS {
        for slots in SLOTS {
            for (name, weights) in WEIGHTS {
                let [build, down, up] = measure(slots, &members(backends, weights));
                println!(
                    "{backends:>8} {slots:>8}  {name:<8} {build:>8.2} {down:>14.3} {up:>14.3}"
                );
            }
        }
    }
    println!();
}

fn measure(slots: u32, members: &[Member]) -> [f64; 3] {
    let mut table = SlotTable::build(slots, SEED, members);
    let checksum = table.checksum();
    let builds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let (built, time) = timed(|| SlotTable::build(slots, SEED, members));
            assert_eq!(built.checksum(), checksum);
            time
        })
        .collect();
    let (downs, ups): (Vec<_>, Vec<_>) = (0..)
        .take(members.len())
        .cycle()
        .take(ROUNDS)
        .map(|member| {
            let (lost, down) = timed(|| table.set_live(member, false));
            let (gained, up) = timed(|| table.set_live(member, true));
            assert_eq!(lost, gained, "it gets back what it had");
            (down, up)
        })
        .unzip();
    assert_eq!(table.checksum(), checksum, "flaps leave no trace");
    [builds, downs, ups].map(|times| ms(median(&times)))
}

/// Backends 10.0.0.1 onwards, all live; the weights repeat.
fn members(count: u16, weights: &[u16]) -> Vec<Member> {
    (1..=u32::from(count))
        .zip(weights.iter().cycle())
        .map(|(host, &weight)| Member {
            address: (Ipv4Addr::from_bits((10 << 24) + host), 8080).into(),
            weight,
            live: true,
            part: Part::WHOLE,
        })
        .collect()
}
