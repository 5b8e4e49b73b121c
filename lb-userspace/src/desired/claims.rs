//! Whom the replies of NAT backends come from.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use lb_common::directory::{Key, Kind};

use super::state::{Forwarding, State};
use crate::config::model::{Config, Mode, Ports, Vip};

/// A service's backend, and whose replies it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    pub(super) vip: Vip,
    pub(super) backend: SocketAddr,
}

/// What the directory says of replies → whose they are. Of several claims the first that has the port
/// decides; of those on a single port it is the only one.
pub(super) type Claims = BTreeMap<Key, Vec<Claim>>;

impl Claim {
    /// What it is found by.
    pub(super) fn key(&self) -> Key {
        let (address, protocol) = (self.backend.ip().into(), self.vip.protocol.number());
        if self.vip.ports.is_one() {
            Key::new(Kind::Backend, address, self.backend.port(), protocol)
        } else {
            Key::new(Kind::BackendRanges, address, 0, protocol)
        }
    }

    /// What its replies come from.
    pub(super) const fn ports(&self) -> Ports {
        self.vip.ports.moved_to(self.backend.port())
    }

    /// Whether another service has the backend, so that its replies are that one's.
    pub(super) fn is_taken_by(&self, other: &Self) -> bool {
        other.vip != self.vip
            && other.vip.protocol == self.vip.protocol
            && other.backend.ip() == self.backend.ip()
            && other.ports().overlap(self.ports())
    }

    /// Whether another service, on more precise ports, has the backend: its replies are that one's from now on.
    pub(super) fn is_overruled_by(&self, other: &Self) -> bool {
        let vagueness = |claim: &Self| (!claim.vip.ports.is_one(), claim.vip.ports == Ports::All);
        self.is_taken_by(other) && vagueness(other) < vagueness(self)
    }

    /// Whether a reply may be this one's or the other's. Of services on one address the more precise one
    /// takes its ports from the other, so that both keep apart where neither moves them.
    fn collides(&self, other: &Self) -> bool {
        let shift = |claim: &Self| claim.backend.port().wrapping_sub(claim.vip.ports.first());
        let kept_apart = self.vip.address == other.vip.address && shift(self) == shift(other);
        self != other && self.ports().overlap(other.ports()) && !kept_apart
    }
}

/// Of the services that have a backend, the one that was there before answers, else the first of the
/// file. A range decides before what has all ports.
pub(super) fn claims(before: &Claims, desired: &State) -> Claims {
    let mut claims = Claims::new();
    for claim in wanted(desired) {
        claims.entry(claim.key()).or_default().push(claim);
    }
    for (key, list) in &mut claims {
        let before = before.get(key);
        let seniority = |claim: &Claim| {
            let place = before.and_then(|list| list.iter().position(|other| other == claim));
            (claim.vip.ports == Ports::All, place.unwrap_or(usize::MAX))
        };
        list.sort_by_key(seniority);
        if list.iter().any(|claim| claim.vip.ports.is_one()) {
            list.truncate(1);
        }
    }
    claims
}

/// Every NAT backend of a state.
pub(super) fn wanted(desired: &State) -> impl Iterator<Item = Claim> {
    desired.services.iter().flat_map(|service| {
        let vip = service.vip;
        let backends = service.backends.iter();
        let of_nat = backends.filter(|backend| backend.forwarding == Forwarding::Nat);
        of_nat.map(move |backend| Claim {
            vip,
            backend: backend.address,
        })
    })
}

/// Every NAT backend of a configuration.
pub(super) fn configured(config: &Config) -> impl Iterator<Item = Claim> {
    config.services.iter().flat_map(|service| {
        let backends = service.backends.iter();
        let of_nat = backends.filter(|backend| backend.mode == Mode::Nat);
        of_nat.map(|backend| Claim {
            vip: service.vip,
            backend: backend.address,
        })
    })
}

/// The NAT backends of a configuration whose replies may be those of another service.
pub(super) fn shared(config: &Config) -> HashSet<Claim> {
    shared_among(configured(config))
}

/// Those whose replies may be another one's.
pub(super) fn shared_among(claims: impl Iterator<Item = Claim>) -> HashSet<Claim> {
    let mut groups = HashMap::<_, Vec<Claim>>::new();
    for claim in claims {
        let group = (claim.backend.ip(), claim.vip.protocol);
        groups.entry(group).or_default().push(claim);
    }
    groups.values().flat_map(|group| shared_of(group)).collect()
}

/// Whether services of a configuration have NAT backends in common, so that flows must be remembered.
#[must_use]
pub fn shares_backends(config: &Config) -> bool {
    !shared(config).is_empty()
}

fn shared_of(group: &[Claim]) -> Vec<Claim> {
    // Nearly every group, and there may be ten thousand at each change.
    if group.len() < 2 {
        return Vec::new();
    }
    let mut on_port = HashMap::<u16, Vec<&Claim>>::new();
    let (single, ranges): (Vec<&Claim>, Vec<&Claim>) =
        group.iter().partition(|claim| claim.vip.ports.is_one());
    for &claim in &single {
        on_port.entry(claim.backend.port()).or_default().push(claim);
    }
    let is_shared = |claim: &&Claim| {
        let ranges = ranges.iter();
        let others = if claim.vip.ports.is_one() {
            on_port.get(&claim.backend.port())
        } else {
            Some(&single)
        };
        ranges
            .chain(others.into_iter().flatten())
            .any(|other| claim.collides(other))
    };
    group.iter().filter(is_shared).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(claims: &[(&str, &str)]) -> Vec<bool> {
        let claims: Vec<Claim> = claims
            .iter()
            .map(|(vip, backend)| Claim {
                vip: vip.parse().unwrap(),
                backend: backend.parse().unwrap(),
            })
            .collect();
        let shared = shared_of(&claims);
        claims.iter().map(|claim| shared.contains(claim)).collect()
    }

    #[test]
    fn every_one_of_those_that_share_is_marked_and_no_other() {
        let all = ("192.0.2.1:*/tcp", "10.0.0.1:0");
        let other = ("192.0.2.2:80/tcp", "10.0.0.1:80");
        let kept = ("192.0.2.1:80/tcp", "10.0.0.1:80");
        let apart = ("192.0.2.3:81/tcp", "10.0.0.1:8081");
        let range = ("192.0.2.4:90-99/tcp", "10.0.0.1:8080");
        assert_eq!(shared(&[all, kept]), [false, false]);
        assert_eq!(shared(&[all, kept, other]), [true, true, true]);
        assert_eq!(shared(&[kept, other, apart]), [true, true, false]);
        assert_eq!(shared(&[kept, apart, range]), [false, true, true]);
    }
}
