//! What becomes of connections when a service's backends change: `idle:`, `drain_deadline:`, `on_down:`.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    model::{OnDown, Protocol},
    problems::{Finding, Problems, Reported},
    raw::Node,
    values::{self, Choice},
};

pub(super) const ON_DOWN: Choice<OnDown> = Choice {
    what: "`on_down`",
    words: &[("rehash", OnDown::Rehash), ("keep", OnDown::Keep)],
    unsupported: &["reset"],
};

/// Ages are kept in seconds modulo 2¹⁶.
const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(4);
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(12);

/// How long a drain may take where the file does not say so.
pub(super) const DEFAULT_DEADLINE: Duration = Duration::from_hours(1);

/// How long a flow may be silent where the file does not say so.
pub(super) const fn default_idle(protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Tcp => Duration::from_mins(15),
        Protocol::Udp => Duration::from_mins(1),
    }
}

pub(super) fn read_idle(node: &Node, problems: &mut Problems) -> Result<Duration, Reported> {
    read(node, "`idle`", "1s to 4h", &IDLE, problems)
}

pub(super) fn read_deadline(node: &Node, problems: &mut Problems) -> Result<Duration, Reported> {
    read(node, "`drain_deadline`", "1s to 12h", &DEADLINE, problems)
}

/// Whole seconds within a range.
fn read(
    node: &Node,
    what: &str,
    expected: &str,
    range: &RangeInclusive<Duration>,
    problems: &mut Problems,
) -> Result<Duration, Reported> {
    let time = values::duration(node, what, problems)?.value;
    if range.contains(&time) && time.subsec_nanos() == 0 {
        return Ok(time);
    }
    let written = humantime::format_duration(time);
    let message = format!("{what} is `{written}`, expected {expected}, in whole seconds");
    Err(problems.error(Finding::at(node.span, message).hint("`60s` and `15m` are usual")))
}
