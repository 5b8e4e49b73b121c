//! What failing probes may do to a service: `max_ejected:`, `min_up:`, `when_empty:`, `backup_below:`.

use super::{
    backends::BackendDraft,
    model::{Guards, Share, Threshold, WhenEmpty},
    problems::{Finding, Problems, Reported},
    raw::{Node, Value},
    table::Table,
    values::{self, Choice, quoted},
};

const WHEN_EMPTY: Choice<WhenEmpty> = Choice {
    what: "`when_empty`",
    words: &[
        ("withdraw", WhenEmpty::Withdraw),
        ("drop", WhenEmpty::Drop),
        ("reset", WhenEmpty::Reset),
        ("fail-open", WhenEmpty::FailOpen),
    ],
    unsupported: &[],
};

/// As many backends as a row can tell apart.
const MOST: u32 = 32_766;

/// Reads the keys of a service with these backends, where they are known.
pub(super) fn read(
    service: &Table<'_>,
    backends: Option<&[BackendDraft]>,
    problems: &mut Problems,
) -> Result<Guards, Reported> {
    let max_ejected = service.get("max_ejected");
    let max_ejected = max_ejected.map(|node| read_share(node, "max_ejected", problems));
    let all = backends.map(<[_]>::len);
    let min_up = service.get("min_up");
    let min_up = min_up.map_or(Ok((1, 0)), |node| read_min_up(node, all, problems));
    let backup_below = service.get("backup_below");
    let backup_below = backup_below.map(|node| read_backup_below(node, backends, problems));
    let when_empty = service.get("when_empty");
    let when_empty = when_empty.map_or(Ok(WhenEmpty::Withdraw), |node| {
        WHEN_EMPTY.read(node, problems)
    });
    let (min_up, hysteresis) = min_up?;
    Ok(Guards {
        max_ejected: max_ejected.transpose()?,
        min_up,
        hysteresis,
        when_empty: when_empty?,
        backup_below: backup_below.transpose()?.unwrap_or_default(),
    })
}

/// A part of the backends, or a number of them; at least one.
fn read_share(node: &Node, key: &str, problems: &mut Problems) -> Result<Share, Reported> {
    const EXPECTED: &str = "a part such as `50%`, or a number of backends";
    let Value::Text(text) = &node.value else {
        let count = values::number(node, &format!("`{key}`"), 1..=MOST, problems)?;
        return Ok(Share::Count(count.value));
    };
    if let Some(percent) = values::percent(text) {
        return Ok(Share::Percent(percent));
    }
    let message = format!("`{key}` is {}, expected {EXPECTED}", quoted(text));
    let finding = Finding::at(node.span, message);
    Err(problems.error(finding.hint(format!("write `{key}: 50%`, say"))))
}

/// A part or a number of the first tier's backends, or that and how many more it takes until backups go.
fn read_backup_below(
    node: &Node,
    backends: Option<&[BackendDraft]>,
    problems: &mut Problems,
) -> Result<Threshold, Reported> {
    const HINT: &str = "backup_below: { count: 50%, hysteresis: 1 }";
    let (count, hysteresis) = if matches!(node.value, Value::Table(_)) {
        let table = Table::open(node, "`backup_below`", &["count", "hysteresis"], problems)?;
        let count = table.require("count", HINT, problems);
        (count?, read_hysteresis(&table, problems)?)
    } else {
        (node, 0)
    };
    let below = read_share(count, "backup_below", problems)?;
    let tiers = backends.and_then(tiers);
    if let Some(finding) = tiers.and_then(|tiers| misfit(below, count, &tiers)) {
        return Err(problems.error(finding));
    }
    Ok(Threshold { below, hysteresis })
}

/// The tier of each backend, the lowest first, where all are known.
fn tiers(backends: &[BackendDraft]) -> Option<Vec<u8>> {
    let tiers = backends.iter().map(|backend| backend.tier);
    let mut tiers = tiers.collect::<Result<Vec<u8>, _>>().ok()?;
    tiers.sort_unstable();
    Some(tiers)
}

/// Why a threshold makes no sense.
fn misfit(below: Share, node: &Node, tiers: &[u8]) -> Option<Finding> {
    let first = tiers.first()?;
    let primaries = tiers.partition_point(|tier| tier == first);
    if primaries == tiers.len() {
        let finding = Finding::at(node.span, "`backup_below` in a service without a backup");
        return Some(finding.hint("say `backup: true` of a backend, or remove it"));
    }
    let needed = below.least(primaries);
    (needed > primaries).then(|| {
        let message = format!("`backup_below` is {needed}, of {primaries} backends");
        Finding::at(node.span, message)
            .label("backups would always take flows")
            .hint("take a number of the first tier's backends at most")
    })
}

fn read_hysteresis(table: &Table<'_>, problems: &mut Problems) -> Result<u32, Reported> {
    let Some(node) = table.get("hysteresis") else {
        return Ok(0);
    };
    values::number(node, "`hysteresis`", 0..=MOST, problems).map(|more| more.value)
}

/// A number, or a number and how many more it takes to come back.
fn read_min_up(
    node: &Node,
    backends: Option<usize>,
    problems: &mut Problems,
) -> Result<(u32, u32), Reported> {
    const HINT: &str = "min_up: { count: 2, hysteresis: 1 }";
    let (count, hysteresis) = if matches!(node.value, Value::Table(_)) {
        let table = Table::open(node, "`min_up`", &["count", "hysteresis"], problems)?;
        let count = table.require("count", HINT, problems);
        let count = count.and_then(|node| values::number(node, "`count`", 1..=MOST, problems));
        let hysteresis = read_hysteresis(&table, problems);
        (count?, hysteresis?)
    } else {
        (values::number(node, "`min_up`", 1..=MOST, problems)?, 0)
    };
    if let Some(backends) = backends.filter(|backends| count.value as usize > *backends) {
        let message = format!("`min_up` is {}, of {backends} backends", count.value);
        let finding = Finding::at(count.span, message).label("the service would never be served");
        return Err(problems.error(finding.hint("take a number of its backends at most")));
    }
    Ok((count.value, hysteresis))
}
