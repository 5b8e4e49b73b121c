//! Which `nat` backends several services have in common, so that a reply alone does not tell whose
//! it is.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use super::model::{Config, Mode, Ports, Protocol, Vip};

/// A `nat` backend of a service. `T` tells the caller which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<T> {
    pub(super) owner: T,
    pub(super) vip: Vip,
    pub(super) backend: SocketAddr,
}

impl<T> Claim<T> {
    /// What replies come from.
    pub(super) const fn ports(&self) -> Ports {
        self.vip.ports.moved_to(self.backend.port())
    }

    /// Whether a reply may be this one's or the other's. Of services on one address the more precise
    /// one takes its ports from the other, so that both keep apart where neither moves them.
    fn collides(&self, other: &Self) -> bool {
        let shift = |claim: &Self| claim.ports().first().wrapping_sub(claim.vip.ports.first());
        let kept_apart = self.vip.address == other.vip.address && shift(self) == shift(other);
        self.ports().overlap(other.ports()) && !kept_apart
    }
}

/// Pairs of claims, the later one first, that replies cannot be told apart by. At least one pair for
/// every reply that several claims want; each claim is listed once as the later one.
pub(super) fn collisions<T: Copy>(
    claims: impl Iterator<Item = Claim<T>>,
) -> Vec<(Claim<T>, Claim<T>)> {
    let mut groups: HashMap<(IpAddr, Protocol), Vec<Claim<T>>> = HashMap::new();
    for claim in claims {
        let group = (claim.backend.ip(), claim.vip.protocol);
        groups.entry(group).or_default().push(claim);
    }
    let mut collisions = Vec::new();
    for group in groups.values_mut().filter(|group| group.len() > 1) {
        // Stable: of equal ones the first of the file comes first.
        group.sort_by_key(|claim| claim.ports().first());
        let mut reaching_furthest: Option<Claim<T>> = None;
        for claim in group.iter() {
            if let Some(before) = reaching_furthest.filter(|before| before.collides(claim)) {
                collisions.push((*claim, before));
            }
            let is_further = |before: &Claim<T>| before.ports().last() >= claim.ports().last();
            reaching_furthest = Some(reaching_furthest.filter(is_further).unwrap_or(*claim));
        }
    }
    collisions
}

/// The names of two services with a `nat` backend in common, if there are such.
#[must_use]
pub fn shared_backend(config: &Config) -> Option<(&str, &str, SocketAddr)> {
    let claims = config.services.iter().flat_map(|service| {
        let backends = service.backends.iter();
        let of_nat = backends.filter(|backend| backend.mode == Mode::Nat);
        of_nat.map(|backend| Claim {
            owner: service.name.as_str(),
            vip: service.vip,
            backend: backend.address,
        })
    });
    let (later, first) = collisions(claims).into_iter().next()?;
    Some((first.owner, later.owner, later.backend))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collide(claims: &[(&str, &str)]) -> bool {
        let claims = claims.iter().map(|(vip, backend)| Claim {
            owner: (),
            vip: vip.parse().unwrap(),
            backend: backend.parse().unwrap(),
        });
        !collisions(claims).is_empty()
    }

    #[test]
    fn one_reply_of_two_services_is_a_collision() {
        for claims in [
            [
                ("192.0.2.1:80/tcp", "10.0.0.1:8080"),
                ("192.0.2.2:80/tcp", "10.0.0.1:8080"),
            ],
            [
                ("192.0.2.1:80-89/tcp", "10.0.0.1:80"),
                ("192.0.2.2:85/tcp", "10.0.0.1:85"),
            ],
            [
                ("192.0.2.1:*/tcp", "10.0.0.1:0"),
                ("192.0.2.2:80/tcp", "10.0.0.1:8080"),
            ],
            [
                ("192.0.2.1:*/tcp", "10.0.0.1:0"),
                ("192.0.2.1:80/tcp", "10.0.0.1:8080"),
            ],
        ] {
            assert!(collide(&claims), "{claims:?}");
        }
    }

    #[test]
    fn replies_that_differ_are_none() {
        for claims in [
            [
                ("192.0.2.1:80/tcp", "10.0.0.1:8080"),
                ("192.0.2.1:80/udp", "10.0.0.1:8080"),
            ],
            [
                ("192.0.2.1:80/tcp", "10.0.0.1:8080"),
                ("192.0.2.2:80/tcp", "10.0.0.1:8081"),
            ],
            [
                ("192.0.2.1:*/tcp", "10.0.0.1:0"),
                ("192.0.2.1:80/tcp", "10.0.0.1:80"),
            ],
            [
                ("192.0.2.1:80-89/tcp", "10.0.0.1:80"),
                ("192.0.2.2:90/tcp", "10.0.0.1:90"),
            ],
        ] {
            assert!(!collide(&claims), "{claims:?}");
        }
    }
}
