//! What clients' packets may do to a service: `passive:`.

use std::time::Duration;

use super::{
    model::{Passive, PassiveAct, Protocol},
    problems::{Finding, Problems, Reported},
    raw::{Node, Value},
    source::Spanned,
    table::Table,
    values::{self, Choice, quoted},
};

const ACT: Choice<PassiveAct> = Choice {
    what: "`passive`",
    words: &[
        ("off", PassiveAct::Off),
        ("watch", PassiveAct::Watch),
        ("probe", PassiveAct::Probe),
        ("eject", PassiveAct::Eject),
    ],
    unsupported: &[],
};

/// Connections that are asked for at most.
const MOST: u32 = 1_000_000;

/// Reads a word, or a table with more.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Result<Passive, Reported> {
    let Value::Table(_) = node.value else {
        let act = ACT.read(node, problems)?;
        return Ok(Passive {
            act,
            ..Passive::default()
        });
    };
    let keys = ["act", "failing", "least", "eject_for"];
    let table = Table::open(node, "`passive`", &keys, problems)?;
    let default = Passive::default();
    let act = table.require("act", "passive: { act: eject }", problems);
    let act = act.and_then(|node| ACT.read(node, problems));
    let failing = table.get("failing");
    let failing = failing.map(|node| read_percent(node, problems));
    let least = table.get("least");
    let least = least.map(|node| values::number(node, "`least`", 1..=MOST, problems));
    let eject_for = table.get("eject_for");
    let eject_for = eject_for.map(|node| read_eject_for(node, problems));
    Ok(Passive {
        act: act?,
        failing: failing.transpose()?.unwrap_or(default.failing),
        least: least.transpose()?.map_or(default.least, |it| it.value),
        eject_for: eject_for
            .transpose()?
            .map_or(default.eject_for, |it| it.value),
    })
}

/// At least from one look to the next.
fn read_eject_for(node: &Node, problems: &mut Problems) -> Result<Spanned<Duration>, Reported> {
    let time = values::duration(node, "`eject_for`", problems)?;
    if time.value >= Duration::from_secs(1) {
        return Ok(time);
    }
    let finding = Finding::at(node.span, "`eject_for` is shorter than a second");
    Err(problems.error(finding.hint("packets are looked at once a second: take `30s`, say")))
}

/// A part of the connections.
fn read_percent(node: &Node, problems: &mut Problems) -> Result<u32, Reported> {
    let Value::Text(text) = &node.value else {
        let found = values::wrong_kind(node, "`failing`", "a part such as `50%`");
        return Err(problems.error(found));
    };
    values::percent(text).ok_or_else(|| {
        let message = format!("`failing` is {}, expected 1% to 100%", quoted(text));
        problems.error(Finding::at(node.span, message).hint("write `failing: 50%`, say"))
    })
}

/// Notes what has no effect.
pub(super) fn check(
    passive: &Spanned<Passive>,
    protocol: Protocol,
    is_probed: bool,
    problems: &mut Problems,
) {
    let (message, hint) = if passive.value.act == PassiveAct::Off {
        return;
    } else if protocol == Protocol::Udp {
        let message = "`passive`, but datagrams do not say whether connections open";
        (message, "remove it: only TCP is watched")
    } else if passive.value.act == PassiveAct::Probe && !is_probed {
        let message = "`passive: probe`, but the backends are not probed";
        (message, "add a `probe`; or say `watch`, or `eject`")
    } else {
        return;
    };
    problems.note(Finding::at(passive.span, message).hint(hint));
}
