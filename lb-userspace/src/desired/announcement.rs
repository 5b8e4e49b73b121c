//! Which VIPs are announced, and why others are not. Pure.
//!
//! An address is announced while its services can forward: each of them or, where the configuration says so,
//! any. It is not announced for the first time before every backend that it knows has shown what it is: its
//! slots would then change hands under connections that another balancer had before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use super::{Backend, Service, State};
use crate::config::model::{self, Config, Require, Vip, WhenEmpty};

/// What a service can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ability {
    /// Its name.
    pub service: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether a backend takes its flows and can be reached.
    pub forwards: bool,
    /// Whether a backend may soon take flows that does not yet: its first probe, or the answer of its
    /// neighbour, is under way.
    pub unsettled: bool,
}

/// What is to become of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is announced.
    Announce,
    /// It is not.
    Withdraw(Reason),
}

/// Why an address is not announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An operator took this balancer out.
    Drained,
    /// These services have no backend that they can forward to.
    NoBackend(Vec<String>),
    /// Backends of these services are still being asked for the first time.
    Unsettled(Vec<String>),
    /// Other balancers have not told yet all that they know of flows that may come here.
    Untold,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("this balancer is drained by hand"),
            Self::NoBackend(services) => write!(f, "no backend: {}", services.join(", ")),
            Self::Unsettled(services) => {
                write!(f, "first probes under way: {}", services.join(", "))
            }
            Self::Untold => f.write_str("waits for what other balancers know of connections"),
        }
    }
}

/// What each service that has a say can do.
#[must_use]
pub fn abilities(config: &Config, state: &State) -> Vec<Ability> {
    // A state is built service by service.
    let services = config.services.iter().zip(&state.services);
    let with_a_say = services.filter(|(model, _)| model.announce);
    with_a_say
        .map(|(model, service)| ability(model, service))
        .collect()
}

/// Services whose backends have all shown what they are.
pub fn settled(state: &State) -> impl Iterator<Item = Vip> {
    let services = state.services.iter();
    let settled = services.filter(|service| !service.backends.iter().any(is_unsettled));
    settled.map(|service| service.vip)
}

/// Whether a backend may soon take flows that does not yet.
fn is_unsettled(backend: &Backend) -> bool {
    backend.is_asked() || (backend.live && !backend.next_hop.is_resolved())
}

fn ability(model: &model::Service, service: &Service) -> Ability {
    let reached = |backend: &Backend| backend.live && backend.next_hop.is_resolved();
    Ability {
        service: model.name.clone(),
        address: model.vip.address,
        forwards: matches!(model.guards.when_empty, WhenEmpty::Drop | WhenEmpty::Reset)
            || service.backends.iter().any(reached),
        unsettled: service.backends.iter().any(is_unsettled),
    }
}

/// What the wishes depend on, beside the services.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Which services of an address must be able to forward.
    pub require: Require,
    /// Whether an operator took this balancer out.
    pub drained: bool,
    /// Addresses that are announced: they stay so while a backend is asked for the first time.
    pub announced: &'a BTreeSet<IpAddr>,
    /// Addresses that have waited long enough for first probes.
    pub overdue: &'a BTreeSet<IpAddr>,
}

/// What is to become of each address of a service that has a say.
#[must_use]
pub fn wishes(abilities: &[Ability], circumstances: Circumstances<'_>) -> BTreeMap<IpAddr, Wish> {
    let mut by_address: BTreeMap<IpAddr, Vec<&Ability>> = BTreeMap::new();
    for ability in abilities {
        by_address.entry(ability.address).or_default().push(ability);
    }
    let wish = |(address, services): (IpAddr, Vec<&Ability>)| {
        let reason = obstacle(address, &services, circumstances);
        (address, reason.map_or(Wish::Announce, Wish::Withdraw))
    };
    by_address.into_iter().map(wish).collect()
}

/// What keeps an address from being announced.
fn obstacle(
    address: IpAddr,
    services: &[&Ability],
    circumstances: Circumstances<'_>,
) -> Option<Reason> {
    let Circumstances {
        require,
        drained,
        announced,
        overdue,
    } = circumstances;
    if drained {
        return Some(Reason::Drained);
    }
    let unable = names(services, |ability| !ability.forwards);
    let is_enough = match require {
        Require::All => unable.is_empty(),
        Require::Any => unable.len() < services.len(),
    };
    let unsettled = names(services, |ability| ability.unsettled);
    let waits =
        !unsettled.is_empty() && !announced.contains(&address) && !overdue.contains(&address);
    if waits {
        return Some(Reason::Unsettled(unsettled));
    }
    (!is_enough).then_some(Reason::NoBackend(unable))
}

fn names(services: &[&Ability], which: impl Fn(&Ability) -> bool) -> Vec<String> {
    let named = services.iter().filter(|ability| which(ability));
    named.map(|ability| ability.service.clone()).collect()
}

#[cfg(test)]
mod tests;
