//! What failing probes may do to a service: `max_ejected:`, `min_up:`, `when_empty:`.

use super::{
    model::{Guards, Share, WhenEmpty},
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

/// Reads the keys of a service with so many backends, where that is known.
pub(super) fn read(
    service: &Table<'_>,
    backends: Option<usize>,
    problems: &mut Problems,
) -> Result<Guards, Reported> {
    let max_ejected = service.get("max_ejected");
    let max_ejected = max_ejected.map(|node| read_max_ejected(node, problems));
    let min_up = service.get("min_up");
    let min_up = min_up.map_or(Ok((1, 0)), |node| read_min_up(node, backends, problems));
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
    })
}

/// A part of the backends, or a number of them; at least one.
fn read_max_ejected(node: &Node, problems: &mut Problems) -> Result<Share, Reported> {
    const EXPECTED: &str = "a part such as `50%`, or a number of backends";
    let Value::Text(text) = &node.value else {
        let most = values::number(node, "`max_ejected`", 1..=MOST, problems)?;
        return Ok(Share::Count(most.value));
    };
    let percent = text.strip_suffix('%');
    if let Some(percent @ 1..=100) = percent.and_then(|digits| digits.parse().ok()) {
        return Ok(Share::Percent(percent));
    }
    let message = format!("`max_ejected` is {}, expected {EXPECTED}", quoted(text));
    let finding = Finding::at(node.span, message);
    Err(problems.error(finding.hint("write `max_ejected: 50%`, say")))
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
        let hysteresis = table.get("hysteresis");
        let hysteresis =
            hysteresis.map(|node| values::number(node, "`hysteresis`", 0..=MOST, problems));
        (count?, hysteresis.transpose()?.map_or(0, |more| more.value))
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
