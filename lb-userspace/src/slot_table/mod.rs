//! Who owns which slot: capped rendezvous with exact quotas on the configured backends, rendezvous
//! on the live ones.
//!
//! * Every slot has a *configured* owner, by a stable matching of slots to all declared backends:
//!   each owns exactly its quota.
//! * A slot whose configured owner is not live belongs to the live backend that comes first in its
//!   ranking.
//!
//! **Invariant:** the table is a pure function of seed, number of slots, and the set of (address,
//! port, weight, live). Neither the order of the backends nor what happened before matters, so that
//! balancers with the same configuration and the same view of health agree on every slot, and a
//! backend that goes and returns leaves no trace. A change of `live` moves the slots of that backend
//! and no others; an edit of the configuration moves somewhat more than its ideal, which is the price
//! of exact quotas.
//!
//! It does not know about rows, maps or flows: [`crate::desired`] turns it into those.

mod backend;
mod checksum;
mod identity;
mod logarithm;
mod matching;
mod quota;
mod ranking;
mod score;
#[cfg(test)]
mod tests;

pub use backend::Member;

use backend::Backend;
use checksum::Checksum;
use identity::SlotKeys;
use ranking::Ranking;

/// In the place of an owner: nobody.
const NO_OWNER: u16 = u16::MAX;

/// The owners of a service's slots. Two bytes a slot for the configured owners, two for the current.
#[derive(Clone, Debug)]
pub struct SlotTable {
    keys: SlotKeys,
    /// In the order given.
    backends: Vec<Backend>,
    /// Owners while all are live.
    configured: Vec<u16>,
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
            configured,
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
        match self.backends.get_mut(usize::from(member)) {
            Some(backend) if backend.live != live => backend.live = live,
            _ => return Vec::new(),
        }
        let changes = if live {
            self.gains(member)
        } else {
            self.losses(member)
        };
        for &(slot, owner) in &changes {
            self.hand_over(slot, owner);
        }
        changes.into_iter().map(|(slot, _)| slot).collect()
    }

    /// The slots of a member that left, each with its next owner.
    fn losses(&self, member: u16) -> Vec<(u32, u16)> {
        let live = Ranking::new(&self.backends, |backend| backend.live);
        (0..)
            .zip(&self.owners)
            .filter(|&(_, &owner)| owner == member)
            .map(|(slot, _)| {
                let heir = live.best_backend(self.keys.key(slot));
                (slot, heir.unwrap_or(NO_OWNER))
            })
            .collect()
    }

    /// The slots that a member takes when it returns: its configured ones, and those of dead owners
    /// that rank it before their current owner.
    fn gains(&self, member: u16) -> Vec<(u32, u16)> {
        (0..)
            .zip(self.configured.iter().zip(&self.owners))
            .filter(|&(slot, (&home, &owner))| {
                home == member
                    || !is_live(&self.backends, home) && self.prefers(slot, member, owner)
            })
            .map(|(slot, _)| (slot, member))
            .collect()
    }

    /// Whether `slot` ranks `member` before its current owner.
    fn prefers(&self, slot: u32, member: u16, owner: u16) -> bool {
        let Some(member) = self.backends.get(usize::from(member)) else {
            return false;
        };
        match self.backends.get(usize::from(owner)) {
            None => member.weight > 0,
            Some(owner) => member.outranks(owner, self.keys.key(slot)),
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

/// The configured owners where they are live, else the slots' best live backends.
fn live_owners(keys: SlotKeys, backends: &[Backend], configured: &[u16]) -> Vec<u16> {
    let live = Ranking::new(backends, |backend| backend.live);
    (0..)
        .zip(configured)
        .map(|(slot, &home)| {
            if is_live(backends, home) {
                return home;
            }
            live.best_backend(keys.key(slot)).unwrap_or(NO_OWNER)
        })
        .collect()
}

fn is_live(backends: &[Backend], owner: u16) -> bool {
    backends
        .get(usize::from(owner))
        .is_some_and(|backend| backend.live)
}
