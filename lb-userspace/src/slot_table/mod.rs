//! Who owns which slot: capped rendezvous with exact quotas on the configured backends, rendezvous
//! on the live ones.
//!
//! * Every slot has a *configured* owner, by a stable matching of slots to all declared backends:
//!   each owns exactly its quota.
//! * A slot whose configured owner is not live belongs to the live backend that comes first in its
//!   ranking.
//! * A live backend may take a [`Part`] of this only: to slots that it leaves it is as if it were not live, as long as
//!   others take them.
//!
//! **Invariant:** the table is a pure function of seed, number of slots, and the set of (address,
//! port, weight, live, part). Neither the order of the backends nor what happened before matters, so that
//! balancers with the same configuration and the same view of health agree on every slot, and a
//! backend that goes and returns leaves no trace. A change of `live` or `part` moves slots from or to that backend
//! and no others; an edit of the configuration moves somewhat more than its ideal, which is the price
//! of exact quotas.
//!
//! It does not know about rows, maps or flows: [`crate::desired`] turns it into those.

use std::{cmp::Ordering, sync::Arc};

mod backend;
mod checksum;
mod identity;
mod logarithm;
mod matching;
mod part;
mod quota;
mod ranking;
mod score;
#[cfg(test)]
mod tests;

pub use backend::Member;
pub use part::Part;

use crate::rare;
use backend::Backend;
use checksum::Checksum;
use identity::SlotKeys;
use part::Standing;
use ranking::Ranking;

/// In the place of an owner: nobody.
const NO_OWNER: u16 = u16::MAX;

/// The owners of a service's slots. Two bytes a slot for the configured owners, two for the current.
#[derive(Clone, Debug)]
pub struct SlotTable {
    keys: SlotKeys,
    /// In the order given.
    backends: Vec<Backend>,
    /// Owners while all are live: the same as long as the table is.
    configured: Arc<[u16]>,
    owners: Vec<u16>,
    checksum: Checksum,
}

impl SlotTable {
    /// The largest number of members: rows name them from 1 on, and one name means nobody.
    pub const MAX_MEMBERS: usize = lb_common::row::Row::NONE as usize - 1;

    /// Works out who owns each of `slots` slots. Owners are indices into `members`; those beyond
    /// [`MAX_MEMBERS`](Self::MAX_MEMBERS) own nothing. No two members may have the same address.
    #[must_use]
    pub fn build(slots: u32, seed: u64, members: &[Member]) -> Self {
        let keys = SlotKeys::new(seed);
        let backends = backends(slots, seed, members);
        let configured = matching::configured_owners(slots, keys, &backends);
        let owners = live_owners(keys, &backends, &configured);
        let checksum = Checksum::of(keys, &backends, &owners);
        Self {
            keys,
            backends,
            configured: configured.into(),
            owners,
            checksum,
        }
    }

    /// The index of the member that owns `slot`, if there is such a slot and it has an owner.
    #[must_use]
    pub fn owner(&self, slot: u32) -> Option<u16> {
        self.owners
            .get(slot as usize)
            .copied()
            .filter(|&owner| owner != NO_OWNER)
    }

    /// The owners of all slots, in the order of slots.
    #[must_use]
    pub fn owners(&self) -> impl ExactSizeIterator<Item = Option<u16>> {
        self.owners
            .iter()
            .map(|&owner| (owner != NO_OWNER).then_some(owner))
    }

    /// A digest of all owners by identity, to compare balancers by; shown as 16 hexadecimal digits.
    #[must_use]
    pub const fn checksum(&self) -> u64 {
        self.checksum.digest()
    }

    /// Slots that each member owns while all are live: the floor or the ceiling of its share.
    #[must_use]
    pub fn quotas(&self) -> Vec<u32> {
        self.backends.iter().map(|backend| backend.quota).collect()
    }

    /// Slots that each member owns.
    #[must_use]
    pub fn shares(&self) -> Vec<u32> {
        let mut shares = vec![0; self.backends.len()];
        for &owner in &self.owners {
            if let Some(share) = shares.get_mut(usize::from(owner)) {
                *share += 1;
            }
        }
        shares
    }

    /// Takes a member out of the table or back in. Returns the slots whose owner changed, in
    /// ascending order.
    ///
    /// The result is the table that [`build`](Self::build) would make; an unknown `member` changes
    /// nothing.
    pub fn set_live(&mut self, member: u16, live: bool) -> Vec<u32> {
        let known = self.backends.get(usize::from(member));
        let part = known.map_or(Part::WHOLE, |backend| backend.gate.part);
        self.set(member, live, part)
    }

    /// The same, and how much it takes while it is there.
    pub fn set(&mut self, member: u16, live: bool, part: Part) -> Vec<u32> {
        let Some(backend) = self.backends.get_mut(usize::from(member)) else {
            return Vec::new();
        };
        let before = backend.takes();
        (backend.live, backend.gate.part) = (live, part);
        let changes = match backend.takes().cmp(&before) {
            Ordering::Equal => return Vec::new(),
            Ordering::Greater => self.gains(member),
            Ordering::Less => self.losses(member),
        };
        for &(slot, owner) in &changes {
            self.hand_over(slot, owner);
        }
        changes.into_iter().map(|(slot, _)| slot).collect()
    }

    /// The same of all members, in their order: quicker than one after the other where many change. Slots in ascending
    /// order.
    pub fn set_all(&mut self, takes: impl IntoIterator<Item = (bool, Part)>) -> Vec<u32> {
        for (backend, (live, part)) in self.backends.iter_mut().zip(takes) {
            (backend.live, backend.gate.part) = (live, part);
        }
        let owners = live_owners(self.keys, &self.backends, &self.configured);
        let both = (0..).zip(self.owners.iter().zip(owners));
        let changes = both.filter(|(_, (before, after))| **before != *after);
        let changes: Vec<_> = changes.map(|(slot, (_, after))| (slot, after)).collect();
        for &(slot, owner) in &changes {
            self.hand_over(slot, owner);
        }
        changes.into_iter().map(|(slot, _)| slot).collect()
    }

    /// The slots of a member that takes less, each with its next owner.
    fn losses(&self, member: u16) -> Vec<(u32, u16)> {
        let live = Ranking::new(&self.backends, |backend| backend.live);
        rare::pairs(&self.configured, &self.owners, |_, owner| owner == member)
            .map(|(slot, (home, _))| {
                let key = self.keys.key(slot);
                (slot, owner_of(key, home, &self.backends, &live))
            })
            .filter(|&(_, heir)| heir != member)
            .collect()
    }

    /// The slots that a member takes when it takes more.
    fn gains(&self, member: u16) -> Vec<(u32, u16)> {
        let whole: Vec<bool> = self.backends.iter().map(Backend::takes_all).collect();
        let takes_all = |owner: u16| whole.get(usize::from(owner)).copied().unwrap_or(false);
        let takes = |&(slot, (home, owner)): &(u32, (u16, u16))| {
            owner != member && self.prefers(slot, home, member, owner)
        };
        let slot = |(slot, _)| (slot, member);
        // Nobody takes a slot of whoever has it by configuration and takes all: that is nearly every slot.
        let mut others = (0..)
            .zip(&self.backends)
            .filter(|(index, _)| *index != member);
        if others.all(|(_, other)| !other.live || other.takes_all()) {
            let away = rare::pairs(&self.configured, &self.owners, |home, owner| home != owner);
            return away.filter(takes).map(slot).collect();
        }
        let away = rare::pairs(&self.configured, &self.owners, |home, owner| {
            home != owner || !takes_all(owner)
        });
        away.filter(takes).map(slot).collect()
    }

    /// Whether `slot`, of which `home` is the configured owner, prefers `member` to its current owner.
    fn prefers(&self, slot: u32, home: u16, member: u16, owner: u16) -> bool {
        let key = self.keys.key(slot);
        let backend = |index: u16| self.backends.get(usize::from(index));
        let standing = |index| backend(index).and_then(|backend| backend.standing(key));
        match standing(member).cmp(&standing(owner)) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if home == member || home == owner => home == member,
            Ordering::Equal => match (backend(member), backend(owner)) {
                (Some(member), Some(owner)) => member.outranks(owner, key),
                _ => false,
            },
        }
    }

    fn hand_over(&mut self, slot: u32, owner: u16) {
        let Some(row) = self.owners.get_mut(slot as usize) else {
            return;
        };
        let key = self.keys.key(slot);
        self.checksum.remove(key, &self.backends, *row);
        self.checksum.add(key, &self.backends, owner);
        *row = owner;
    }
}

/// The backends behind `members`, with their quotas.
fn backends(slots: u32, seed: u64, members: &[Member]) -> Vec<Backend> {
    let members = members.iter().take(SlotTable::MAX_MEMBERS);
    let mut backends: Vec<Backend> = members.map(|member| Backend::new(seed, member)).collect();
    let mut by_identity: Vec<&mut Backend> = backends.iter_mut().collect();
    by_identity.sort_by_key(|backend| backend.identity);
    let weights: Vec<u16> = by_identity.iter().map(|backend| backend.weight).collect();
    for (backend, quota) in by_identity.into_iter().zip(quota::quotas(slots, &weights)) {
        backend.quota = quota;
    }
    backends
}

/// Who owns each slot, of those that are live.
fn live_owners(keys: SlotKeys, backends: &[Backend], configured: &[u16]) -> Vec<u16> {
    let live = Ranking::new(backends, |backend| backend.live);
    (0..)
        .zip(configured)
        .map(|(slot, &home)| owner_of(keys.key(slot), home, backends, &live))
        .collect()
}

/// Who owns the slot of this key: the first of the live ones by standing, as its configured owner (`home`), and in
/// its ranking.
fn owner_of(slot_key: u64, home: u16, backends: &[Backend], live: &Ranking) -> u16 {
    let at_home = backends.get(usize::from(home));
    let at_home = at_home.and_then(|backend| backend.standing(slot_key));
    let mut standings = Standing::ALL.into_iter();
    let owner = standings.find_map(|least| {
        let is_home = at_home.is_some_and(|standing| standing >= least);
        let best = || live.best_backend(slot_key, |gate| gate.standing(slot_key) >= least);
        is_home.then_some(home).or_else(best)
    });
    owner.unwrap_or(NO_OWNER)
}
