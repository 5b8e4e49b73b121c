//! Who owns the slots of a service, and the rows that say so.

use std::{net::SocketAddr, sync::Arc};

use foldhash::HashMap;
use lb_common::row::Row;

use super::{
    entry::Identity,
    installed::{Owners, Service},
    services::Offsets,
    state,
    transition::{self, Flows},
};
use crate::slot_table::{Member, SlotTable};

/// The slots of a service that may have changed.
pub(super) enum Touched {
    All,
    Some(Vec<u32>),
}

impl Service {
    /// Works out who owns which slot. A change of who is live, and how much of it, changes the table that is
    /// there; any other one builds it anew.
    pub(super) fn assign_slots(&mut self, wanted: &state::Service, seed: u64) -> Touched {
        let members = members(wanted);
        let slots = wanted.slots;
        if let Some(owners) = &mut self.owners
            && same_but_for_takers(&owners.members, &members)
            && owners.slots.owners().len() == slots as usize
        {
            return Touched::Some(set_takers(owners, members));
        }
        self.owners = Some(Arc::new(Owners {
            slots: SlotTable::build(slots, seed, &members),
            members,
        }));
        Touched::All
    }

    /// Distances from the header of the slot table's members.
    pub(super) fn member_offsets(
        &self,
        wanted: impl Iterator<Item = Identity>,
        places: &Offsets,
    ) -> Vec<u16> {
        let place = |identity: Identity| Some((identity.0, *places.get(&identity)?));
        let offsets: HashMap<SocketAddr, u32> = wanted.filter_map(place).collect();
        let offset = |member: &Member| {
            let offset = offsets.get(&member.address);
            offset
                .and_then(|offset| u16::try_from(*offset).ok())
                .unwrap_or(Row::NONE)
        };
        let members = self.owners.iter().flat_map(|owners| &owners.members);
        members.map(offset).collect()
    }

    /// Who is to own each slot, as rows name them.
    pub(super) fn wanted_owners(&self, offsets: &[u16]) -> impl Iterator<Item = u16> {
        let owners = self.owners.iter().flat_map(|owners| owners.slots.owners());
        owners.map(move |owner| offset(owner, offsets))
    }

    /// The same of one slot.
    pub(super) fn wanted_owner(&self, slot: u32, offsets: &[u16]) -> u16 {
        let owners = self.owners.as_ref();
        offset(owners.and_then(|owners| owners.slots.owner(slot)), offsets)
    }

    /// The rows of slots that are to have these owners, where they are others than before.
    pub(super) fn changed_rows(
        &self,
        owners: impl Iterator<Item = (u32, u16)>,
        flows: impl Fn(u16) -> Flows,
    ) -> Vec<(u32, Row)> {
        let changed = owners.filter_map(|(slot, owner)| {
            let row = *self.rows.get(slot as usize)?;
            let next = transition::next(row, owner, &flows);
            (next != row).then_some((slot, next))
        });
        changed.collect()
    }
}

fn offset(owner: Option<u16>, offsets: &[u16]) -> u16 {
    let offset = owner.and_then(|owner| offsets.get(usize::from(owner)));
    offset.copied().unwrap_or(Row::NONE)
}

/// The members of a service's slot table, in the order of addresses: that of the file may change
/// without meaning anything.
fn members(service: &state::Service) -> Vec<Member> {
    let member = |backend: &state::Backend| Member {
        address: backend.address,
        weight: backend.weight,
        live: backend.live,
        part: backend.part,
    };
    let staying = service.backends.iter().filter(|backend| !backend.leaving);
    let mut members: Vec<Member> = staying.map(member).collect();
    members.sort_unstable_by_key(|member| member.address);
    members
}

fn same_but_for_takers(left: &[Member], right: &[Member]) -> bool {
    let identity = |member: &Member| (member.address, member.weight);
    left.iter().map(identity).eq(right.iter().map(identity))
}

/// So many members are set one after the other: each costs a look at every slot, and all at once as many as there are
/// slots away from home.
const FEW: usize = 16;

/// Slots whose owner changed.
fn set_takers(owners: &mut Arc<Owners>, members: Vec<Member>) -> Vec<u32> {
    if owners.members == members {
        return Vec::new();
    }
    let owners = Arc::make_mut(owners);
    let changed = owners.members.iter().zip(&members);
    let changed = changed.filter(|(before, after)| before != after);
    let takes = |member: &Member| (member.live, member.part);
    let slots = if changed.count() > FEW {
        owners.slots.set_all(members.iter().map(takes))
    } else {
        let mut slots = Vec::new();
        for (index, (live, part)) in (0..).zip(members.iter().map(takes)) {
            slots.extend(owners.slots.set(index, live, part));
        }
        slots
    };
    owners.members = members;
    slots
}
