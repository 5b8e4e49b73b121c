//! `cargo xtask simulate [SEED]`: designs of balancers under the same trace, and what each breaks and remembers.
#![expect(clippy::print_stdout, reason = "a table is printed")]

use std::thread;

use anyhow::{Context as _, Result};
use lb_tests::simulate::{Flood, Kind, Outcome, Plan, play};

const KINDS: [Kind; 6] = [
    Kind::Maglev,
    Kind::Lru(1 << 14),
    Kind::Lru(1 << 16),
    Kind::Lru(1 << 20),
    Kind::Xlb(1 << 15),
    Kind::Xlb(1 << 8),
];

/// The trace without a flood, and with balancers that live.
const fn calm(seed: u64) -> Plan {
    Plan {
        seed,
        seconds: 600,
        backends: 100,
        spare: 20,
        flows: 2000,
        pause: 5,
        flood: None,
        balancers: 1,
        death: 0,
    }
}

/// The same trace in three ways.
const fn plans(seed: u64) -> [Plan; 3] {
    let calm = calm(seed);
    let flood = Flood {
        from: 300,
        until: 360,
        rate: 100_000,
    };
    let flooded = Plan {
        flood: Some(flood),
        ..calm
    };
    let failing = Plan {
        balancers: 4,
        death: 60,
        ..calm
    };
    [calm, flooded, failing]
}

fn main() -> Result<()> {
    let seed = std::env::args().nth(1).map_or(Ok(1), |text| {
        text.parse()
            .with_context(|| format!("{text}: expected a number"))
    })?;
    let plans = plans(seed);
    for plan in &plans {
        println!("{plan:?}");
    }
    let rows = rows(&plans)?;
    print(&rows);
    Ok(())
}

type Row = (Kind, [Outcome; 3]);

/// Each plan to each design, on a thread of its own.
fn rows(plans: &[Plan; 3]) -> Result<Vec<Row>> {
    let played = thread::scope(|scope| {
        let plays = KINDS.map(|kind| plans.map(|plan| scope.spawn(move || play(kind, &plan))));
        plays.map(|plays| plays.map(thread::ScopedJoinHandle::join))
    });
    let mut rows = Vec::new();
    for (kind, played) in KINDS.into_iter().zip(played) {
        let mut outcomes = [Outcome::default(); 3];
        for (outcome, played) in outcomes.iter_mut().zip(played) {
            *outcome = played
                .ok()
                .with_context(|| format!("{kind}: a play panicked"))?;
        }
        rows.push((kind, outcomes));
    }
    Ok(rows)
}

fn print(rows: &[Row]) {
    println!(
        "\n| design | broken | broken under a flood | broken where balancers die | flows remembered \
         at most | KiB |\n|---|---|---|---|---|---|"
    );
    for (kind, outcomes) in rows {
        let [calm, flooded, failing] = outcomes.map(|outcome| share(&outcome));
        let entries = outcomes.iter().map(|outcome| outcome.most_entries).max();
        let (entries, kib) = (entries.unwrap_or_default(), outcomes[0].bytes / 1024);
        println!("| {kind} | {calm} | {flooded} | {failing} | {entries} | {kib} |");
    }
    println!();
    for (kind, outcomes) in rows {
        for outcome in outcomes {
            println!("{kind}: {outcome:?}");
        }
    }
}

/// Broken flows, and their share.
fn share(outcome: &Outcome) -> String {
    let Outcome { flows, broken, .. } = outcome;
    #[expect(clippy::cast_precision_loss, reason = "millions")]
    let percent = 100.0 * *broken as f64 / (*flows).max(1) as f64;
    format!("{broken} ({percent:.3} %)")
}
