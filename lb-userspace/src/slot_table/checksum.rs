//! The digest by which two balancers see that their tables are equal.

use super::{
    backend::Backend,
    identity::{SlotKeys, mix},
};

/// The sum of one well-mixed word for every (slot, owner): the order does not matter, and a changed
/// row costs one subtraction and one addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checksum(u64);

impl Checksum {
    /// The checksum of a whole table.
    pub(super) fn of(keys: SlotKeys, backends: &[Backend], owners: &[u16]) -> Self {
        let mut checksum = Self::default();
        for (slot, &owner) in (0..).zip(owners) {
            checksum.add(keys.key(slot), backends, owner);
        }
        checksum
    }

    /// Counts in that `owner` owns the slot of this key.
    pub(super) fn add(&mut self, slot_key: u64, backends: &[Backend], owner: u16) {
        self.0 = self.0.wrapping_add(row(slot_key, backends, owner));
    }

    /// Undoes an [`add`](Self::add).
    pub(super) fn remove(&mut self, slot_key: u64, backends: &[Backend], owner: u16) {
        self.0 = self.0.wrapping_sub(row(slot_key, backends, owner));
    }

    pub(super) const fn digest(self) -> u64 {
        self.0
    }
}

/// By identity, never by index: lists may be in any order. No owner counts as id 0.
fn row(slot_key: u64, backends: &[Backend], owner: u16) -> u64 {
    let id = backends
        .get(usize::from(owner))
        .map_or(0, |backend| backend.identity.id);
    mix(slot_key ^ id)
}
