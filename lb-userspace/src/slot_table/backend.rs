//! A backend as a slot table sees it.

use std::net::SocketAddr;

use super::{
    identity::{Draw, Identity},
    score::Score,
};

/// A backend of a service, as it is declared and as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Address and port: with the seed, all that tells it from the others.
    pub address: SocketAddr,
    /// Its share of the slots is `weight / sum of weights`; 0 never owns a slot.
    pub weight: u16,
    /// Whether it takes packets; why not (health, drain, maintenance) is all the same here.
    pub live: bool,
}

/// A member with all that is derived from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backend {
    pub(super) identity: Identity,
    pub(super) draw: Draw,
    pub(super) weight: u16,
    pub(super) live: bool,
    /// Slots that it owns while all are live.
    pub(super) quota: u32,
}

impl Backend {
    pub(super) fn new(seed: u64, member: &Member) -> Self {
        let &Member {
            address,
            weight,
            live,
        } = member;
        let identity = Identity::new(seed, address);
        Self {
            identity,
            draw: Draw::new(identity.id),
            weight,
            live,
            quota: 0,
        }
    }

    /// Whether the slot of this key ranks it before `other`.
    pub(super) fn outranks(&self, other: &Self, slot_key: u64) -> bool {
        let (own, others) = (self.score(slot_key), other.score(slot_key));
        own.beats(others) || !others.beats(own) && self.identity < other.identity
    }

    pub(super) const fn score(&self, slot_key: u64) -> Score {
        Score::new(self.draw.lot(slot_key), self.weight)
    }
}
