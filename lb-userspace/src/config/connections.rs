//! What becomes of connections when a service's backends change: `idle:`, `drain_deadline:`, `on_down:`,
//! `quic:`, `affinity:`.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    model::{Affinity, OnDown, Protocol, Vip},
    problems::{Finding, Problems, Reported},
    raw::Node,
    services::optional,
    source::Spanned,
    table::Table,
    values::{self, Choice},
};

/// What a file says, as far as it could be read.
#[derive(Debug)]
pub(super) struct Draft {
    idle: Result<Option<Duration>, Reported>,
    drain_deadline: Result<Option<Duration>, Reported>,
    on_down: Result<Option<Spanned<OnDown>>, Reported>,
    quic: Result<Option<Spanned<bool>>, Reported>,
    affinity: Result<Option<Spanned<Affinity>>, Reported>,
}

/// What it means.
pub(super) struct Connections {
    pub(super) idle: Duration,
    pub(super) drain_deadline: Duration,
    pub(super) on_down: OnDown,
    pub(super) quic: bool,
    pub(super) affinity: Option<Affinity>,
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
        let quic = |node: &Node, problems: &mut Problems| values::truth(node, "`quic`", problems);
        let on_down = |node: &Node, problems: &mut Problems| ON_DOWN.read(node, problems);
        Self {
            idle,
            drain_deadline,
            on_down: optional(service, "on_down", on_down, problems),
            quic: optional(service, "quic", quic, problems),
            affinity: optional(service, "affinity", read_affinity, problems),
        }
    }

    /// Reports what does not fit a VIP.
    pub(super) fn check(&self, vip: &Spanned<Vip>, problems: &mut Problems) {
        let is_tcp = vip.value.protocol == Protocol::Tcp;
        let reset = match &self.on_down {
            Ok(Some(on_down)) if on_down.value == OnDown::Reset => Some(on_down.span),
            _ => None,
        };
        let quic = match &self.quic {
            Ok(Some(quic)) if quic.value => Some(quic.span),
            _ => None,
        };
        if let (Some(span), false) = (reset, is_tcp) {
            let finding = Finding::at(span, "`on_down: reset` in a UDP service");
            let finding = finding
                .label("only TCP has resets")
                .also(vip.span, "the VIP");
            problems.error(finding.hint("use `rehash` or `keep`"));
        }
        if let (Some(span), true) = (quic, is_tcp) {
            let finding = Finding::at(span, "`quic` in a TCP service");
            let finding = finding
                .label("QUIC runs over UDP")
                .also(vip.span, "the VIP");
            problems.error(finding.hint("remove it"));
        }
        if let (Some(span), Ok(Some(affinity))) = (reset, &self.affinity) {
            let finding = Finding::at(span, "`on_down: reset` and `affinity` in one service");
            let finding = finding.label("tells connections, which affinity does not know");
            let finding = finding.also(affinity.span, "remembers clients");
            problems.error(finding.hint("use `rehash` or `keep`, or leave `affinity` out"));
        }
    }

    /// What it means for a service of `protocol`.
    pub(super) fn finish(self, protocol: Protocol) -> Result<Connections, Reported> {
        Ok(Connections {
            idle: self.idle?.unwrap_or_else(|| default_idle(protocol)),
            drain_deadline: self.drain_deadline?.unwrap_or(DEFAULT_DEADLINE),
            on_down: self
                .on_down?
                .map_or(OnDown::Rehash, |on_down| on_down.value),
            quic: self.quic?.is_some_and(|quic| quic.value),
            affinity: self.affinity?.map(|affinity| affinity.value),
        })
    }
}

const ON_DOWN: Choice<OnDown> = Choice {
    what: "`on_down`",
    words: &[
        ("rehash", OnDown::Rehash),
        ("reset", OnDown::Reset),
        ("keep", OnDown::Keep),
    ],
    unsupported: &[],
};

const BY: Choice<()> = Choice {
    what: "`by`",
    words: &[("source", ())],
    unsupported: &[],
};

/// A table of how clients stay with their backends.
fn read_affinity(node: &Node, problems: &mut Problems) -> Result<Affinity, Reported> {
    let keys = ["by", "timeout", "prefix_v4", "prefix_v6"];
    let table = Table::open(node, "`affinity`", &keys, problems)?;
    let by = table.require("by", "by: source", problems);
    let by = by.and_then(|node| BY.read(node, problems));
    let timeout = table.get("timeout").map_or(Ok(DEFAULT_AFFINITY), |node| {
        read(node, "`timeout`", "1s to 4h", &IDLE, problems)
    });
    let mut prefix = |key: &'static str, most: u8| {
        table.get(key).map_or(Ok(most), |node| {
            let bits = values::number(node, &format!("`{key}`"), 1..=most, problems);
            bits.map(|bits| bits.value)
        })
    };
    let (prefix_v4, prefix_v6) = (prefix("prefix_v4", 32), prefix("prefix_v6", 128));
    by?;
    Ok(Affinity {
        timeout: timeout?,
        prefix_v4: prefix_v4?,
        prefix_v6: prefix_v6?,
    })
}

/// Ages are kept in seconds modulo 2¹⁶.
const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(4);
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(12);

/// How long a client may be silent where the file does not say so.
const DEFAULT_AFFINITY: Duration = Duration::from_hours(3);

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
