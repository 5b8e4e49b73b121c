//! Services with backups: which tiers of their backends take flows.
//!
//! The lowest tier always does, and each further one while those before it have too few that can. The backends of
//! the others stand by: they are probed and shown, and own no slots. Their part is that of a drained backend, so
//! that flows that they have stay with them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use super::state::{Backend, Service, State};
use crate::config::model::{self, Config, Threshold, Vip};

/// The highest tier in use, of each service that has several: a tier that came in stays until there are some more
/// of those before it (`hysteresis`).
pub type InUse = HashMap<Vip, u8>;

/// A service uses other tiers than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The service.
    pub vip: Vip,
    /// The highest tier in use.
    pub tier: u8,
    /// Whether that is higher than before: backups came in.
    pub is_higher: bool,
    /// Backends of the lowest tier that can take flows, and all of them.
    pub primaries: (usize, usize),
    /// How many have to, so that no backup comes in.
    pub needed: usize,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tier,
            primaries: (live, all),
            needed,
            ..
        } = self;
        write!(
            f,
            "tier {tier} is the last in use: {live} of {all} primaries can take flows, {needed} have to"
        )
    }
}

/// Leaves the backends of tiers that are not used without slots; services whose tiers in use changed.
pub fn apply(state: &mut State, config: &Config, in_use: &mut InUse) -> Vec<Turn> {
    let services = config.services.iter().zip(&mut state.services);
    let turns = services.filter_map(|(model, service)| turn(model, service, in_use));
    turns.collect()
}

fn turn(model: &model::Service, service: &mut Service, in_use: &mut InUse) -> Option<Turn> {
    let vip = service.vip;
    let tiers = tiers(model, service);
    let (Some((&first, primary)), true) = (tiers.first_key_value(), tiers.len() > 1) else {
        in_use.remove(&vip);
        return None;
    };
    let Threshold { below, hysteresis } = model.guards.backup_below;
    let needs = Needs {
        // Too few for the service are too few for its first tier.
        enough: below.least(primary.all).max(model.guards.min_up as usize),
        hysteresis: hysteresis as usize,
    };
    let before = in_use.get(&vip).copied().unwrap_or(first);
    let tier = highest(&tiers, needs, before);
    in_use.insert(vip, tier);
    for (model, backend) in model.backends.iter().zip(&mut service.backends) {
        if model.tier > tier {
            backend.weight = 0;
            backend.live = false;
        }
    }
    (tier != before).then_some(Turn {
        vip,
        tier,
        is_higher: tier > before,
        primaries: (primary.live, primary.all),
        needed: needs.enough,
    })
}

/// A tier's backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tier {
    all: usize,
    /// Those that can take flows.
    live: usize,
    /// Those whose first probe is to come.
    asked: usize,
}

/// Tiers by their numbers. Those on their way out are behind those of the model, and belong to none.
fn tiers(model: &model::Service, service: &Service) -> BTreeMap<u8, Tier> {
    let mut tiers = BTreeMap::<u8, Tier>::new();
    for (model, backend) in model.backends.iter().zip(&service.backends) {
        let tier = tiers.entry(model.tier).or_default();
        tier.all += 1;
        tier.live += usize::from(backend.takes());
        tier.asked += usize::from(Backend::is_asked(backend));
    }
    tiers
}

/// What a service needs, so that no further tier comes in.
#[derive(Clone, Copy, Debug)]
struct Needs {
    enough: usize,
    /// How many more, so that one that came in goes.
    hysteresis: usize,
}

/// The highest tier to be used, where `before` was.
fn highest(tiers: &BTreeMap<u8, Tier>, needs: Needs, before: u8) -> u8 {
    let mut sum = Tier::default();
    for (&number, tier) in tiers {
        sum.all += tier.all;
        sum.live += tier.live;
        sum.asked += tier.asked;
        let is_enough = if number < before {
            let some_more = needs.enough.saturating_add(needs.hysteresis).min(sum.all);
            sum.live >= some_more.max(needs.enough)
        } else {
            // Who is about to be known may be enough.
            sum.live + sum.asked >= needs.enough
        };
        if is_enough {
            return number;
        }
    }
    tiers.last_key_value().map_or(before, |(number, _)| *number)
}

#[cfg(test)]
mod tests;
