//! Prints what slot tables cost: medians of build, edit and health-event times, and how many slots
//! an edit moves beside the fewest possible.
//!
//! `cargo run --release -p lb-userspace --example slot_table_times`

use std::{
    hint::black_box,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
};

use lb_userspace::slot_table::{Member, Part, SlotTable};
use tokio::time::Instant;

const SEED: u64 = 0x786c_6220_7365_6564;
const SIZES: [(u16, u32); 4] = [
    (10, 1 << 12),
    (100, 1 << 16),
    (1000, 1 << 16),
    (1000, 1 << 18),
];

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "backends   slots  weights   build ms  down µs    up µs  edit moves  ideal  ratio"
    )?;
    for (backends, slots) in SIZES {
        let distinct: Vec<u16> = (1..=backends).collect();
        for weights in [&[1][..], &[1, 1, 2, 5], &distinct] {
            report(&mut out, slots, &members(backends, weights), weights)?;
        }
    }
    Ok(())
}

fn report(out: &mut impl Write, slots: u32, members: &[Member], weights: &[u16]) -> io::Result<()> {
    let mut table = SlotTable::build(slots, SEED, members);
    let build = median((0..9).map(|_| timed(|| SlotTable::build(slots, SEED, members))));
    let events = (0..)
        .take(members.len())
        .flat_map(|member| [(member, false), (member, true)]);
    let (downs, ups): (Vec<_>, Vec<_>) = events
        .map(|(member, live)| timed(|| table.set_live(member, live)))
        .collect::<Vec<_>>()
        .chunks_exact(2)
        .filter_map(|event| Some((*event.first()?, *event.last()?)))
        .unzip();
    let (moved, ideal) = edit(slots, members, &table);
    writeln!(
        out,
        "{:8}  {slots:6}  {:8}  {:8.2}  {:7.0}  {:7.0}  {moved:10.0}  {ideal:5.0}  {:5.2}",
        members.len(),
        match weights.len() {
            1 => "equal",
            4 => "1 1 2 5",
            _ => "distinct",
        },
        build * 1e3,
        median(downs.into_iter()) * 1e6,
        median(ups.into_iter()) * 1e6,
        moved / ideal,
    )
}

/// Backends 10.0.0.1 onwards, all live; the weights repeat.
fn members(count: u16, weights: &[u16]) -> Vec<Member> {
    (1..=u32::from(count))
        .zip(weights.iter().cycle())
        .map(|(host, &weight)| {
            let ip = Ipv4Addr::from_bits((10 << 24) + host);
            Member {
                address: SocketAddr::from((ip, 8080)),
                weight,
                live: true,
                part: Part::WHOLE,
            }
        })
        .collect()
}

/// Slots that move when one backend leaves the configuration (or, the other way round, joins it),
/// and the fewest possible: those that it owns. Means over up to 20 backends.
fn edit(slots: u32, members: &[Member], table: &SlotTable) -> (f64, f64) {
    let leavers: Vec<usize> = (0..members.len())
        .step_by(members.len().div_ceil(20))
        .collect();
    let moved: u32 = leavers
        .iter()
        .map(|&leaver| moved_without(leaver, slots, members, table))
        .sum();
    let shares = table.shares();
    let owned: u32 = leavers
        .iter()
        .filter_map(|&leaver| shares.get(leaver))
        .sum();
    let count = leavers.iter().map(|_| 1.0).sum::<f64>();
    (f64::from(moved) / count, f64::from(owned) / count)
}

fn moved_without(leaver: usize, slots: u32, members: &[Member], table: &SlotTable) -> u32 {
    let mut rest = members.to_vec();
    rest.remove(leaver);
    let address = |members: &[Member], owner: Option<u16>| {
        members
            .get(usize::from(owner?))
            .map(|member| member.address)
    };
    let without = SlotTable::build(slots, SEED, &rest);
    table
        .owners()
        .zip(without.owners())
        .map(|(before, after)| u32::from(address(members, before) != address(&rest, after)))
        .sum()
}

/// Seconds that `work` takes.
fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}

fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
