//! `cargo xtask churn`: real connections through the data path while backends and daemon come, go and change;
//! how many broke, and at which event. With `--flood` while SYNs of random clients come as fast as a CPU can make
//! them.
#![expect(clippy::print_stdout, reason = "a report is printed")]

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use lb_tests::{
    churn::{self, Plan},
    flood::Bound,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files, if so many are allowed: a socket for every connection here, and one at its server.
const FILES: u64 = 65_536;
/// The most that a flood may be.
const FLOOD: Bound = Bound {
    frames: 1_000_000_000,
    time: Duration::from_mins(10),
    interval: Duration::ZERO,
};

/// As many as are wanted or, where that may not be raised, allowed.
fn open_many_files() -> Result<()> {
    let files = Resource::RLIMIT_NOFILE;
    let raised = setrlimit(files, FILES, FILES);
    let (_, most) = getrlimit(files)?;
    raised
        .or_else(|_refused| setrlimit(files, most, most))
        .context("cannot open more files")
}

fn main() -> Result<ExitCode> {
    let (flags, numbers): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word == "--flood");
    let mut args = numbers.into_iter();
    let mut number = |default: u64| {
        let text = args.next();
        text.map_or(Ok(default), |text| {
            text.parse()
                .with_context(|| format!("{text}: expected a number"))
        })
    };
    let (seed, events, connections) = (number(1)?, number(40)?, number(5000)?);
    open_many_files()?;
    let plan = Plan {
        seed,
        connections: usize::try_from(connections)?,
        more: 50,
        datagrams: 200,
        events: usize::try_from(events)?,
        pause: Duration::from_secs(1),
        flood: (!flags.is_empty()).then_some(FLOOD),
    };
    println!("{plan:?}");
    let report = churn::play(plan)?;
    println!("{report}");
    for fault in report.faults().take(20) {
        println!("  {fault}");
    }
    let is_good = report.broken.is_empty() && report.datagrams.1.is_empty();
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
