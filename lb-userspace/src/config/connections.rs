//! What becomes of connections when a service's backends change: `idle:`, `drain_deadline:`, `on_down:`.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    model::{OnDown, Protocol},
    problems::{Finding, Problems, Reported},
    raw::Node,
    table::Table,
    values::{self, Choice},
};

/// What a file says, as far as it could be read.
#[derive(Debug)]
pub(super) struct Draft {
    idle: Result<Option<Duration>, Reported>,
    drain_deadline: Result<Option<Duration>, Reported>,
    on_down: Result<OnDown, Reported>,
}

/// What it means.
pub(super) struct Connections {
    pub(super) idle: Duration,
    pub(super) drain_deadline: Duration,
    pub(super) on_down: OnDown,
}

impl Draft {
    /// Reads the keys of a service.
    pub(super) fn read(service: &Table<'_>, problems: &mut Problems) -> Self {
        let mut time = |key: &'static str, expected: &str, range: &RangeInclusive<Duration>| {
            let node = service.get(key);
            let time = |node| read(node, &format!("`{key}`"), expected, range, problems);
            node.map(time).transpose()
        };
        let idle = time("idle", "1s to 4h", &IDLE);
        let drain_deadline = time("drain_deadline", "1s to 12h", &DEADLINE);
        let on_down = service.get("on_down");
        Self {
            idle,
            drain_deadline,
            on_down: on_down.map_or(Ok(OnDown::Rehash), |node| ON_DOWN.read(node, problems)),
        }
    }

    /// What it means for a service of `protocol`.
    pub(super) fn finish(self, protocol: Protocol) -> Result<Connections, Reported> {
        Ok(Connections {
            idle: self.idle?.unwrap_or_else(|| default_idle(protocol)),
            drain_deadline: self.drain_deadline?.unwrap_or(DEFAULT_DEADLINE),
            on_down: self.on_down?,
        })
    }
}

const ON_DOWN: Choice<OnDown> = Choice {
    what: "`on_down`",
    words: &[("rehash", OnDown::Rehash), ("keep", OnDown::Keep)],
    unsupported: &["reset"],
};

/// Ages are kept in seconds modulo 2¹⁶.
const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(4);
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(12);

/// How long a drain may take where the file does not say so.
const DEFAULT_DEADLINE: Duration = Duration::from_hours(1);

/// How long a flow may be silent where the file does not say so.
const fn default_idle(protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Tcp => Duration::from_mins(15),
        Protocol::Udp => Duration::from_mins(1),
    }
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
