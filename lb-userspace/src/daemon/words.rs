//! The words of the API for what other modules say in theirs.

use crate::{
    api::types::{self, OverrideItem},
    desired::overrides::{Admin, Override, Presence, Setting},
    health,
};

/// What the operator wants.
pub(super) const fn admin(admin: Admin) -> types::Admin {
    match admin {
        Admin::Ready => types::Admin::Ready,
        Admin::Drain => types::Admin::Drain,
        Admin::Maint => types::Admin::Maint,
    }
}

/// What probes say.
pub(super) const fn health(health: health::Health) -> types::Health {
    match health {
        health::Health::Up => types::Health::Up,
        health::Health::Down => types::Health::Down,
        health::Health::Unknown => types::Health::Unknown,
    }
}

/// What was set by hand; `now` is in seconds since 1970.
pub(super) fn overridden(by_hand: &Override, now: u64) -> OverrideItem {
    let Override {
        admin: by_operator,
        weight,
        presence,
    } = by_hand;
    let what = [
        presence.as_ref().map(|presence| match presence.value {
            Presence::Added(_) => "added".to_owned(),
            Presence::Removed => "removed".to_owned(),
        }),
        by_operator.map(|by_operator| admin(by_operator.value).word().to_owned()),
        weight.map(|weight| format!("weight {}", weight.value)),
    ];
    let expires_in_seconds = by_hand.next_expiry().map(|at| at.saturating_sub(now));
    OverrideItem {
        what: what.into_iter().flatten().collect::<Vec<_>>().join(", "),
        expires_in_seconds,
    }
}

/// What was set by hand for the balancer itself; `now` is in seconds since 1970.
pub(super) fn drained(by_hand: &Setting<Admin>, now: u64) -> OverrideItem {
    let expires = by_hand.expires;
    OverrideItem {
        what: admin(by_hand.value).word().to_owned(),
        expires_in_seconds: expires.map(|at| at.saturating_sub(now)),
    }
}

/// How the last probe ended: `tcp ok 0.4ms`.
pub(super) fn last_probe(report: &health::Report) -> Option<String> {
    let last = report.last?;
    let milliseconds = last.latency.as_secs_f64() * 1000.0;
    let streak = match report.streak {
        health::Streak::Failed(count) => format!(" x{count}"),
        health::Streak::Good(_) => String::new(),
    };
    let (kind, outcome) = (report.kind, last.outcome);
    Some(format!("{kind} {outcome}{streak} {milliseconds:.1}ms"))
}
