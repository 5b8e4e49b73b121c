//! A backend as a slot table sees it.

use std::net::SocketAddr;

use super::{
    identity::{Draw, Identity},
    part::{Gate, Part, Standing},
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
    /// How much of what is its own it takes while it is live; what it leaves goes to others that are.
    pub part: Part,
}

/// A member with all that is derived from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backend {
    pub(super) identity: Identity,
    pub(super) draw: Draw,
    pub(super) weight: u16,
    pub(super) live: bool,
    pub(super) gate: Gate,
    /// Slots that it owns while all are live.
    pub(super) quota: u32,
}

impl Backend {
    pub(super) fn new(seed: u64, member: &Member) -> Self {
        let &Member {
            address,
            weight,
            live,
            part,
        } = member;
        let identity = Identity::new(seed, address);
        Self {
            identity,
            draw: Draw::new(identity.id),
            weight,
            live,
            gate: Gate::new(identity.id, part),
            quota: 0,
        }
    }

    /// Whether the slot of this key ranks it before `other`.
    pub(super) fn outranks(&self, other: &Self, slot_key: u64) -> bool {
        let (own, others) = (self.score(slot_key), other.score(slot_key));
        own.beats(others) || !others.beats(own) && self.identity < other.identity
    }

    /// What it is to the slot of this key; `None` where it owns nothing.
    pub(super) fn standing(&self, slot_key: u64) -> Option<Standing> {
        (self.live && self.weight > 0).then(|| self.gate.standing(slot_key))
    }

    /// How much it takes; `None` where it is not live. The more, the higher is its standing with every slot.
    pub(super) fn takes(&self) -> Option<Part> {
        self.live.then_some(self.gate.part)
    }

    /// Whether it takes all that is its own.
    pub(super) fn takes_all(&self) -> bool {
        self.takes() == Some(Part::WHOLE)
    }

    pub(super) const fn score(&self, slot_key: u64) -> Score {
        Score::new(self.draw.lot(slot_key), self.weight)
    }
}
