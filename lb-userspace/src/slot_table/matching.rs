//! The configured owners: a stable matching of slots to backends with quotas.
//!
//! Slot-proposing deferred acceptance (Gale and Shapley, "College Admissions and the Stability of
//! Marriage", 1962) in the one-at-a-time order of `McVitie` and Wilson (1971). Slots and backends rank
//! each other by the same score, so there is exactly one stable matching: the one that a greedy pass
//! over all pairs from the best score down would find, whatever the order of proposals.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{NO_OWNER, backend::Backend, identity::SlotKeys, ranking::Ranking};

/// The owner of every slot while all backends are live: an index into `backends`, or [`NO_OWNER`]
/// where no backend has a quota. The quotas add up to `slots`, or to nothing.
pub(super) fn configured_owners(slots: u32, keys: SlotKeys, backends: &[Backend]) -> Vec<u16> {
    let mut ranking = Ranking::new(backends, |backend| backend.quota > 0);
    let mut desks: Vec<Desk> = ranking
        .backends()
        .filter_map(|index| backends.get(usize::from(index)))
        .map(|backend| Desk::new(backend.quota))
        .collect();
    for slot in 0..slots {
        propose(slot, keys, &mut ranking, &mut desks);
    }
    owners(slots, &ranking, desks)
}

/// Lets a slot propose, then the slot that had to make room for it, and so on until one is refused
/// nowhere. Nobody proposes twice to the same backend: a refusal raises its floor above the lot.
fn propose(slot: u32, keys: SlotKeys, ranking: &mut Ranking, desks: &mut [Desk]) {
    let mut homeless = Some(slot);
    while let Some(slot) = homeless {
        let Some(choice) = ranking.best(keys.key(slot)) else {
            return;
        };
        let Some(desk) = desks.get_mut(choice.candidate) else {
            return;
        };
        homeless = desk.take(Bid {
            lot: choice.score.lot,
            slot,
        });
        if let Some(floor) = desk.floor() {
            ranking.raise_floor(choice.candidate, floor);
        }
    }
}

fn owners(slots: u32, ranking: &Ranking, desks: Vec<Desk>) -> Vec<u16> {
    let mut owners = vec![NO_OWNER; slots as usize];
    for (backend, desk) in ranking.backends().zip(desks) {
        for Reverse(bid) in desk.bids {
            if let Some(owner) = owners.get_mut(bid.slot as usize) {
                *owner = backend;
            }
        }
    }
    owners
}

/// A slot at a backend's desk. No two bids of a desk have the same lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bid {
    lot: u64,
    slot: u32,
}

/// Where a backend keeps the best bids up to its quota.
#[derive(Debug)]
struct Desk {
    quota: usize,
    /// The worst on top.
    bids: BinaryHeap<Reverse<Bid>>,
}

impl Desk {
    fn new(quota: u32) -> Self {
        let quota = quota as usize;
        Self {
            quota,
            bids: BinaryHeap::with_capacity(quota + 1),
        }
    }

    /// Takes a bid; the slot of the worst one leaves if there are more than the quota.
    fn take(&mut self, bid: Bid) -> Option<u32> {
        self.bids.push(Reverse(bid));
        if self.bids.len() <= self.quota {
            return None;
        }
        self.bids.pop().map(|Reverse(worst)| worst.slot)
    }

    /// The smallest lot that is better than the worst of a full desk.
    fn floor(&self) -> Option<u64> {
        let Reverse(worst) = self.bids.peek().filter(|_| self.bids.len() == self.quota)?;
        Some(worst.lot.saturating_add(1))
    }
}
