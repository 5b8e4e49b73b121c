//! `icmp:`.

use super::{
    model::{Echo, Icmp},
    problems::{Problems, Reported},
    raw::Node,
    table::Table,
    values::{self, Choice},
};

const KEYS: [&str; 2] = ["echo", "rate"];

const ECHO: Choice<Echo> = Choice {
    what: "echo",
    words: &[("answer", Echo::Answer), ("pass", Echo::Pass)],
    unsupported: &["drop"],
};

/// Above this a rate is no limit any more.
const MAX_RATE: u32 = 1_000_000;

/// A table of what is done with ICMP for VIPs.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Result<Icmp, Reported> {
    let table = Table::open(node, "`icmp`", &KEYS, problems)?;
    let default = Icmp::default();
    let echo = table
        .get("echo")
        .map_or(Ok(default.echo), |node| ECHO.read(node, problems));
    let rate = table.get("rate").map_or(Ok(default.rate), |node| {
        values::number(node, "`rate`", 0..=MAX_RATE, problems).map(|rate| rate.value)
    });
    Ok(Icmp {
        echo: echo?,
        rate: rate?,
    })
}
