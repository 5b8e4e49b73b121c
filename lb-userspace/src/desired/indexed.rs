//! What entries of `BACKENDS` name by an index: pools of full NAT, and paths of tunnels.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{address::Address, directory::Key, directory::Kind, pool};
use zerocopy::FromZeros as _;

use super::{
    alloc::Ranges,
    change::Change,
    diff::{Planner, Refused, outgrown},
    state::{Backend, Forwarding, Pool, State},
    store::Region,
};
use crate::config::model::{PortRange, Protocol};

/// The far end of a tunnel, by which a router's error finds its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FarEnd {
    pub(super) address: IpAddr,
    /// Whether the outer packet is UDP.
    pub(super) is_gue: bool,
}

/// Things of which each has an index of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Indexed<T: Ord> {
    indices: BTreeMap<T, u16>,
    taken: Ranges,
}

impl<T: Ord> Indexed<T> {
    /// None; the map has this many entries.
    pub(super) const fn new(capacity: u32) -> Self {
        Self {
            indices: BTreeMap::new(),
            taken: Ranges::new(capacity),
        }
    }

    /// Allows for more entries.
    pub(super) fn grow(&mut self, capacity: u32) {
        self.taken.grow(capacity);
    }

    pub(super) fn index(&self, thing: &T) -> Option<u16> {
        self.indices.get(thing).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&T, u16)> {
        self.indices.iter().map(|(thing, index)| (thing, *index))
    }

    /// Takes note that a thing has an index; `false` where another thing has it, or the thing another
    /// one.
    #[must_use]
    pub(super) fn adopt(&mut self, thing: T, index: u16) -> bool {
        if let Some(known) = self.indices.get(&thing) {
            return *known == index;
        }
        self.indices.insert(thing, index);
        self.taken.reserve(index.into(), 1)
    }

    /// Gives a thing an index, where it has none; whether it is new.
    fn place(&mut self, thing: T, region: Region) -> Result<(u16, bool), Refused> {
        if let Some(index) = self.index(&thing) {
            return Ok((index, false));
        }
        let refused = outgrown(region, self.taken.used() + 1, self.taken.capacity());
        let index = self.taken.take(1).and_then(|index| index.try_into().ok());
        let index: u16 = index.ok_or(refused)?;
        self.indices.insert(thing, index);
        Ok((index, true))
    }

    /// Forgets what is not kept. The indices are in use until they are released.
    fn retain(&mut self, kept: &BTreeSet<T>) -> Vec<u16> {
        let gone = self
            .indices
            .extract_if(.., |thing, _| !kept.contains(thing));
        gone.map(|(_, index)| index).collect()
    }

    pub(super) fn release(&mut self, index: u16) {
        self.taken.release(index.into());
    }
}

impl FarEnd {
    pub(super) fn key(&self) -> Key {
        let protocol = if self.is_gue {
            Protocol::Udp.number()
        } else {
            0
        };
        Key::new(Kind::Tunnel, self.address.into(), 0, protocol)
    }
}

/// The far end of a backend's tunnel, where it has one.
pub(super) const fn far_end(address: IpAddr, forwarding: Forwarding) -> Option<FarEnd> {
    let is_gue = match forwarding {
        Forwarding::Ipip(_) => false,
        Forwarding::Gue(..) => true,
        Forwarding::Nat | Forwarding::FullNat(_) | Forwarding::L2Dsr => return None,
    };
    Some(FarEnd { address, is_gue })
}

impl Planner<'_> {
    /// Writes pools that are new, and clears paths that are.
    pub(super) fn indexed(&mut self, desired: &State) -> Result<(), Refused> {
        self.pools(&desired.pools)?;
        let backends = desired.services.iter().flat_map(|s| &s.backends);
        let end = |backend: &Backend| far_end(backend.address.ip(), backend.forwarding);
        self.paths(&backends.filter_map(end).collect())
    }

    fn pools(&mut self, desired: &[Pool]) -> Result<(), Refused> {
        self.pool_indices.clear();
        for wanted in desired {
            let pool = Box::new(to_map(wanted));
            let placed = self.next.pools.place(wanted.clone(), Region::Pools);
            let (index, is_new) = placed?;
            if is_new {
                self.prepare.push(Change::Pool { index, pool });
            }
            self.pool_indices.push(index);
        }
        let kept = desired.iter().cloned().collect();
        self.freed.pools = self.next.pools.retain(&kept);
        Ok(())
    }

    fn paths(&mut self, desired: &BTreeSet<FarEnd>) -> Result<(), Refused> {
        for far_end in desired {
            let (index, is_new) = self.next.paths.place(*far_end, Region::Paths)?;
            if is_new {
                self.structural = true;
                self.prepare.push(Change::ForgetPath { index });
            }
        }
        self.freed.paths = self.next.paths.retain(desired);
        self.structural |= !self.freed.paths.is_empty();
        Ok(())
    }
}

fn to_map(pool: &Pool) -> pool::Pool {
    let mut entry = pool::Pool::new_zeroed();
    for (place, address) in entry.addresses.iter_mut().zip(&pool.addresses) {
        *place = Address::from(*address);
        entry.count += 1;
    }
    let PortRange { first, last } = pool.ports;
    entry.first = first;
    entry.ports = (last - first).saturating_add(1);
    entry
}

/// What an element of `POOLS` means; `None` where it is no pool.
pub(super) fn meaning(entry: &pool::Pool) -> Option<Pool> {
    let addresses = entry.addresses.get(..entry.count as usize)?;
    Some(Pool {
        addresses: addresses.iter().map(|address| (*address).into()).collect(),
        ports: PortRange {
            first: entry.first,
            last: entry.first.checked_add(entry.ports.checked_sub(1)?)?,
        },
    })
}
