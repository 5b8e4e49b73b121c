//! `cargo xtask churn`: real connections through the data path while backends and daemon come, go and change;
//! how many broke, and at which event.
#![expect(clippy::print_stdout, reason = "a report is printed")]

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use lb_tests::churn::{self, Plan};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files: a socket at each end of every connection.
const FILES: u64 = 65_536;

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
    let mut args = std::env::args().skip(1);
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
    };
    println!("{plan:?}");
    let report = churn::play(plan)?;
    println!("{report}");
    for broken in report.broken.iter().chain(&report.datagrams.1).take(20) {
        println!("  {:?}: {}", broken.event, broken.failure);
    }
    let is_good = report.broken.is_empty() && report.datagrams.1.is_empty();
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
