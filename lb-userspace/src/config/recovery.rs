//! How backends come back: `slow_start:`, `damping:`.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    model::{Damping, Recovery},
    problems::{Finding, Problems, Reported},
    raw::Node,
    services::optional,
    source::{Span, Spanned},
    table::Table,
    values,
};

/// What a file says, as far as it could be read.
#[derive(Debug)]
pub(super) struct Draft {
    slow_start: Result<Option<Spanned<Duration>>, Reported>,
    damping: Result<Option<Spanned<Damping>>, Reported>,
}

impl Draft {
    /// Reads the keys of a service.
    pub(super) fn read(service: &Table<'_>, problems: &mut Problems) -> Self {
        let time = |node: &_, problems: &mut Problems| {
            values::duration(node, "`slow_start`", problems).map(|time| time.value)
        };
        Self {
            slow_start: optional(service, "slow_start", time, problems),
            damping: optional(service, "damping", read_damping, problems),
        }
    }

    /// Notes what has no effect: what is not probed neither goes nor comes back.
    pub(super) fn check(&self, is_probed: bool, problems: &mut Problems) {
        if is_probed {
            return;
        }
        if let Ok(Some(slow_start)) = &self.slow_start {
            note_unprobed("slow_start", slow_start.span, problems);
        }
        if let Ok(Some(damping)) = &self.damping {
            note_unprobed("damping", damping.span, problems);
        }
    }

    /// What it means.
    pub(super) fn finish(self) -> Result<Recovery, Reported> {
        Ok(Recovery {
            slow_start: self.slow_start?.map(|time| time.value),
            damping: self.damping?.map(|damping| damping.value),
        })
    }
}

const HALF_LIFE: Duration = Duration::from_mins(1);
/// Three falls, one soon after the other.
const SUPPRESS: u32 = 2500;
const REUSE: u32 = 1000;
/// The longest time that a backend is kept out, in half-lives.
const MAX: u32 = 4;
const PENALTIES: RangeInclusive<u32> = 1..=1_000_000;

fn read_damping(node: &Node, problems: &mut Problems) -> Result<Damping, Reported> {
    let keys = ["half_life", "suppress", "reuse", "max"];
    let table = Table::open(node, "`damping`", &keys, problems)?;
    let mut time = |key: &str| {
        let time = table.get(key);
        let time = time.map(|node| values::duration(node, &format!("`{key}`"), problems));
        time.transpose()
    };
    let (half_life, max) = (time("half_life"), time("max"));
    let mut penalty = |key: &str| {
        let penalty = table.get(key);
        let read = |node| values::number(node, &format!("`{key}`"), PENALTIES, problems);
        penalty.map(read).transpose()
    };
    let (suppress, reuse) = (penalty("suppress"), penalty("reuse"));
    let half_life = half_life?.map_or(HALF_LIFE, |time| time.value);
    let damping = Damping {
        half_life,
        suppress: suppress?.map_or(SUPPRESS, |penalty| penalty.value),
        reuse: reuse?.map_or(REUSE, |penalty| penalty.value),
        max: max?.map_or_else(|| half_life.saturating_mul(MAX), |time| time.value),
    };
    check_damping(damping, node.span, problems).map(|()| damping)
}

fn check_damping(damping: Damping, span: Span, problems: &mut Problems) -> Result<(), Reported> {
    let Damping {
        suppress, reuse, ..
    } = damping;
    if reuse > suppress {
        let message = format!("`reuse` is {reuse}, above `suppress`, which is {suppress}");
        let finding = Finding::at(span, message);
        return Err(problems.error(finding.hint("take less than half of `suppress`, say")));
    }
    if damping.ceiling() < f64::from(suppress) {
        let message = format!("no penalty gets up to {suppress}: `max` is too short for that");
        let finding = Finding::at(span, message).label("would keep nobody out");
        let hint =
            "make `max` some times `half_life`: penalties go up to reuse × 2^(max / half_life)";
        return Err(problems.error(finding.hint(hint)));
    }
    Ok(())
}

fn note_unprobed(key: &str, span: Span, problems: &mut Problems) {
    let message = format!("`{key}`, but the backends are not probed and count as up");
    let hint = "add a `probe`, or remove it";
    problems.note(Finding::at(span, message).hint(hint));
}
