//! The part of [`diff`](super::diff) that is about services: extents, backends, tables and rows.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use foldhash::{HashMapExt as _, HashSet};
use lb_common::{backend::Backend, directory::Table, row::Row};

use super::{
    change::Change,
    diff::{Planner, Refused, outgrown},
    entry::{Entry, Identity},
    indexed::far_end,
    installed::Service,
    slots::Touched,
    state::{self, Forwarding, Patience},
    store::Region,
    transition::{self, Flows},
};
use crate::{
    config::model::Vip,
    dataplane::sizes::{elements, extent_length},
};

/// The largest number of backends: the distances from a header that a row can hold.
const MAX_BACKENDS: usize = Row::NONE as usize - 1;

impl<'m> Planner<'m> {
    pub(super) fn services(&mut self, desired: &[state::Service]) -> Result<(), Refused> {
        let wanted: BTreeSet<Vip> = desired.iter().map(|service| service.vip).collect();
        let gone: Vec<_> = self
            .next
            .services
            .extract_if(.., |vip, _| !wanted.contains(vip))
            .collect();
        for (_, service) in gone {
            self.structural = true;
            self.freed.extents.push(service.extent);
            self.freed.elements.push(service.table.element());
        }
        desired.iter().try_for_each(|wanted| self.service(wanted))
    }

    fn service(&mut self, wanted: &state::Service) -> Result<(), Refused> {
        let vip = wanted.vip;
        let installed = self.next.services.remove(&vip);
        let is_new = installed.is_none();
        let mut service = installed.unwrap_or_else(Service::nowhere);
        let extent = service.extent;
        let fresh_table = is_new || service.slots() != wanted.slots;
        if fresh_table {
            self.place_table(&mut service, wanted.slots, is_new)?;
        }
        self.set_patience(&mut service, wanted, is_new);
        let before = service.offsets();
        let entries = self.entries(&service, &before, wanted);
        let are_new = self.place_backends(&mut service, vip, &entries, &before)?;
        let offsets = if are_new { service.offsets() } else { before };
        let touched = match service.assign_slots(wanted, self.next.seed) {
            // A backend may have another entry and the same slots.
            _ if are_new => Touched::All,
            touched => touched,
        };
        let kept: HashSet<u32> = entries
            .iter()
            .filter_map(|entry| offsets.get(&entry.identity()).copied())
            .collect();
        let keeping = self.keeping(&service, &entries, wanted, &offsets, &kept, extent);
        let members = service.member_offsets(staying(&entries, wanted), &offsets);
        if fresh_table {
            self.fill_table(&mut service, &members, &keeping);
        } else {
            self.move_rows(&mut service, &members, touched, &keeping);
        }
        self.remove_backends(&mut service, &kept);
        service.note_lingering(wanted, self.moment.now);
        self.next.services.insert(vip, service);
        Ok(())
    }

    /// The entries of a service's backends, pools and paths by their indices.
    fn entries(
        &self,
        installed: &Service,
        offsets: &Offsets,
        service: &state::Service,
    ) -> Vec<Entry> {
        let entry = |backend: &state::Backend| {
            let end = far_end(backend.address.ip(), backend.forwarding);
            let path = end.and_then(|end| self.next.paths.index(&end));
            let forwarding = match backend.forwarding {
                Forwarding::FullNat(pool) => {
                    let index = self.pool_indices.get(usize::from(pool));
                    Forwarding::FullNat(index.copied().unwrap_or(u16::MAX))
                }
                other => other,
            };
            let entry = Entry {
                forwarding,
                ..Entry::new(backend, service.mss, path.unwrap_or(0), self.moment.now)
            };
            let before = offsets.get(&entry.identity());
            let before = before.and_then(|offset| installed.entries.get(*offset as usize));
            Entry {
                since: before.copied().flatten().map_or(entry.since, |before| {
                    since(&before, &entry, backend.keeps, self.moment.now)
                }),
                ..entry
            }
        };
        service.backends.iter().map(entry).collect()
    }

    /// Backends that keep the flows that they have. `extent`: where their counters are before the change.
    fn keeping(
        &self,
        service: &Service,
        entries: &[Entry],
        wanted: &state::Service,
        offsets: &Offsets,
        kept: &HashSet<u32>,
        extent: u32,
    ) -> Keeping<'m> {
        let backends = entries.iter().zip(&wanted.backends);
        let keeping = backends.filter(|(_, backend)| self.tracks && backend.keeps);
        let offset = |(entry, _): (&Entry, _)| {
            let offset = offsets.get(&entry.identity())?;
            u16::try_from(*offset).ok()
        };
        let is_replaced = |(offset, entry): &(u16, Entry)| {
            let is_gone = !kept.contains(&u32::from(*offset));
            is_gone && entries.iter().any(|other| other.address == entry.address)
        };
        let replaced = service.by_offset().filter(is_replaced);
        Keeping {
            owners: keeping.filter_map(offset).collect(),
            replaced: replaced.map(|(offset, _)| offset).collect(),
            of_the_dead: match wanted.patience {
                _ if !self.tracks => Flows::None,
                patience if patience.resets => Flows::AreReset,
                // What is not new cannot be told from what is.
                patience if patience.learns => Flows::None,
                _ => Flows::Move,
            },
            extent,
            has_traffic: self.moment.has_traffic,
            known: RefCell::default(),
        }
    }

    fn set_patience(&mut self, service: &mut Service, wanted: &state::Service, is_new: bool) {
        if service.patience == wanted.patience {
            return;
        }
        service.patience = wanted.patience;
        if !is_new {
            self.prepare.push(Change::SetPatience {
                extent: service.extent,
                header: service.header(wanted.vip),
            });
        }
    }

    /// Finds room for a table of another size.
    fn place_table(
        &mut self,
        service: &mut Service,
        slots: u32,
        is_new: bool,
    ) -> Result<(), Refused> {
        let ranges = &mut self.next.elements;
        let needs = ranges.used() + elements(slots);
        let has = ranges.capacity();
        let element = ranges.take(elements(slots));
        let element = element.ok_or_else(|| outgrown(Region::Slots, needs, has))?;
        if !is_new {
            self.freed.elements.push(service.table.element());
        }
        self.structural = true;
        service.table = Table::new(element, slots.trailing_zeros());
        if !is_new {
            self.prepare.push(Change::SetTable {
                extent: service.extent,
                table: service.table,
            });
        }
        Ok(())
    }

    /// Gives every wanted backend an entry, and updates those that have one; whether any is new.
    /// Backends on their way out keep theirs.
    fn place_backends(
        &mut self,
        service: &mut Service,
        vip: Vip,
        wanted: &[Entry],
        offsets: &Offsets,
    ) -> Result<bool, Refused> {
        let (known, new): (Vec<Entry>, Vec<Entry>) = wanted
            .iter()
            .partition(|entry| offsets.contains_key(&entry.identity()));
        let total = offsets.len() + new.len();
        if total > MAX_BACKENDS {
            return Err(Refused::TooManyBackends {
                vip,
                backends: total,
                most: MAX_BACKENDS,
            });
        }
        self.structural |= !new.is_empty();
        if service.entries.len() <= total {
            self.move_extent(service, vip, wanted, &new)?;
            return Ok(true);
        }
        for entry in known {
            if let Some(&offset) = offsets.get(&entry.identity()) {
                self.update_backend(service, offset, entry);
            }
        }
        for (offset, entry) in service.add(&new) {
            let pair = service.extent + offset;
            let backend = entry.to_backend(vip);
            let inherit = service.other_entry(offset, entry.address);
            self.prepare.push(Change::Traffic { pair, inherit });
            self.prepare.push(Change::NewBackend { pair, backend });
        }
        Ok(!new.is_empty())
    }

    fn update_backend(&mut self, service: &mut Service, offset: u32, wanted: Entry) {
        let Some(Some(installed)) = service.entries.get_mut(offset as usize) else {
            return;
        };
        let pair = service.extent + offset;
        if installed.next_hop != wanted.next_hop {
            let next_hop = wanted.next_hop;
            self.prepare.push(Change::SetNextHop { pair, next_hop });
        }
        if (installed.weight, installed.mss) != (wanted.weight, wanted.mss) {
            let Entry { weight, mss, .. } = wanted;
            self.prepare.push(Change::SetShare { pair, weight, mss });
        }
        if (installed.shared, installed.mtu) != (wanted.shared, wanted.mtu) {
            // Flows are remembered as long as another service may have the backend.
            let is_over = installed.shared && !wanted.shared;
            let when = if is_over {
                &mut self.leave
            } else {
                &mut self.prepare
            };
            when.push(limits(pair, wanted));
        }
        if installed.standing() != wanted.standing() {
            let standing = wanted.standing();
            self.prepare.push(Change::SetStanding { pair, standing });
        }
        *installed = wanted;
    }

    /// Copies a service's backends into a larger extent, at the same distances from the header, so
    /// that the rows go on being right.
    fn move_extent(
        &mut self,
        service: &mut Service,
        vip: Vip,
        wanted: &[Entry],
        new: &[Entry],
    ) -> Result<(), Refused> {
        let occupied = service.entries.iter().flatten().count() + new.len();
        let length = extent_length(u32::try_from(occupied).unwrap_or(u32::MAX));
        let length = length.max(service.length());
        let ranges = &mut self.next.extents;
        let needs = ranges.used() + length;
        let has = ranges.capacity();
        let extent = ranges.take(length);
        let extent = extent.ok_or_else(|| outgrown(Region::Backends, needs, has))?;
        let before = service.moved_to(extent, length);
        self.freed
            .extents
            .extend(before.map(|before| before.extent));
        self.inherit_traffic(service, before);
        service.update(wanted);
        for (offset, entry) in service.add(new) {
            let inherit = service.other_entry(offset, entry.address);
            let pair = service.extent + offset;
            self.prepare
                .extend(inherit.map(|_| Change::Traffic { pair, inherit }));
        }
        self.structural = true;
        self.fill_extent(service, vip);
        Ok(())
    }

    /// Lets the counters of moved backends go on, and those of free entries begin at zero.
    fn inherit_traffic(&mut self, service: &Service, before: Option<Before>) {
        for offset in 0..service.length() {
            let occupied = offset == 0 || service.is_occupied(offset);
            let from = before
                .filter(|_| occupied)
                .map(|before| before.extent + offset);
            self.prepare.push(Change::Traffic {
                pair: service.extent + offset,
                inherit: from,
            });
        }
    }

    fn fill_extent(&mut self, service: &Service, vip: Vip) {
        let backend = |entry: &Option<Entry>| entry.map(|entry| entry.to_backend(vip));
        self.prepare.push(Change::Extent {
            index: service.extent,
            header: service.header(vip),
            entries: service.entries.iter().skip(1).map(backend).collect(),
        });
    }

    /// Fills a table that nothing names. What had another size had its flows where the row of the same
    /// hash says.
    fn fill_table(&mut self, service: &mut Service, members: &[u16], keeping: &Keeping<'_>) {
        let owners: Vec<u16> = service.wanted_owners(members).collect();
        let flows = |owner| keeping.flows(owner);
        let row = |(slot, owner): (usize, &u16)| {
            let before = service.rows.get(slot * service.rows.len() / owners.len());
            transition::next(before.copied().unwrap_or(Row::EMPTY), *owner, flows)
        };
        let rows: Vec<Row> = owners.iter().enumerate().map(row).collect();
        service.rows = Arc::new(rows.clone());
        self.prepare.push(Change::NewTable {
            element: service.table.element(),
            rows,
        });
    }

    fn move_rows(
        &mut self,
        service: &mut Service,
        members: &[u16],
        touched: Touched,
        keeping: &Keeping<'_>,
    ) {
        let flows = |owner| keeping.flows(owner);
        let rows = match touched {
            Touched::Some(slots) if !service.is_astray(flows) => {
                let owner = |slot: u32| (slot, service.wanted_owner(slot, members));
                service.changed_rows(slots.into_iter().map(owner), flows)
            }
            Touched::All | Touched::Some(_) => {
                service.changed_rows((0..).zip(service.wanted_owners(members)), flows)
            }
        };
        if rows.is_empty() {
            return;
        }
        service.set_rows(&rows);
        self.rows.push(Change::Rows {
            element: service.table.element(),
            rows,
        });
    }

    fn remove_backends(&mut self, service: &mut Service, kept: &HashSet<u32>) {
        for (offset, place) in (0..).zip(&mut service.entries) {
            if place.is_some() && !kept.contains(&offset) {
                *place = None;
                self.structural = true;
                let pair = service.extent + offset;
                self.release.push(Change::Free { pair });
            }
        }
    }
}

/// Backends with their distances from the header.
pub(super) type Offsets = foldhash::HashMap<Identity, u32>;

/// The backends that may own slots. Another one of the same address, on its way out, may not.
fn staying(entries: &[Entry], wanted: &state::Service) -> impl Iterator<Item = Identity> {
    let backends = entries.iter().zip(&wanted.backends);
    let staying = backends.filter(|(_, backend)| !backend.leaving);
    staying.map(|(entry, _)| entry.identity())
}

/// Who keeps the flows that there are.
struct Keeping<'a> {
    /// As rows name them.
    owners: HashSet<u16>,
    /// Those whose backend is reached otherwise now (another source of its tunnel), by another entry.
    replaced: HashSet<u16>,
    /// What becomes of those of others.
    of_the_dead: Flows,
    extent: u32,
    has_traffic: &'a dyn Fn(u32) -> bool,
    /// Whether owners ever had any.
    known: RefCell<foldhash::HashMap<u16, bool>>,
}

impl Keeping<'_> {
    /// What becomes of the flows of an owner.
    fn flows(&self, owner: u16) -> Flows {
        let has_flows = || {
            let mut known = self.known.borrow_mut();
            let pair = self.extent + u32::from(owner);
            *known
                .entry(owner)
                .or_insert_with(|| (self.has_traffic)(pair))
        };
        if owner == Row::NONE {
            self.of_the_dead
        } else if !has_flows() {
            Flows::None
        } else if self.owners.contains(&owner) {
            Flows::Stay
        } else if self.replaced.contains(&owner) {
            Flows::Move
        } else {
            self.of_the_dead
        }
    }
}

/// The last second whose flows an entry does not count: it loses them as it dies.
fn since(before: &Entry, wanted: &Entry, keeps: bool, now: u32) -> u32 {
    if before.state != wanted.state && !keeps {
        now
    } else {
        before.since
    }
}

/// Where a service's extent was.
#[derive(Clone, Copy)]
struct Before {
    extent: u32,
}

/// The word that holds how long packets may be, as it is to be.
fn limits(pair: u32, entry: Entry) -> Change {
    let flags = match entry.forwarding {
        Forwarding::Nat => u8::from(entry.shared) * Backend::SHARED,
        Forwarding::FullNat(_) | Forwarding::L2Dsr => 0,
        Forwarding::Ipip(source) | Forwarding::Gue(source, _) => source.spread,
    };
    Change::SetLimits {
        pair,
        mode: entry.forwarding.mode() as u8,
        flags,
        mtu: entry.mtu,
    }
}

impl Service {
    /// A service without extent and table.
    fn nowhere() -> Self {
        Self {
            extent: 0,
            table: Table::new(0, 1),
            entries: Vec::new(),
            rows: Arc::default(),
            patience: Patience {
                idle: 0,
                deadline: 0,
                resets: false,
                learns: false,
                hands_over: false,
                refuses: false,
                affinity: 0,
            },
            lingering: BTreeMap::new(),
            owners: None,
        }
    }

    /// Where its backends are.
    fn offsets(&self) -> Offsets {
        let entries = (0..).zip(&self.entries);
        let identified =
            |(offset, entry): (u32, &Option<Entry>)| Some(((*entry)?.identity(), offset));
        let mut offsets = Offsets::with_capacity(self.entries.len());
        offsets.extend(entries.filter_map(identified));
        offsets
    }

    /// The pair of a NAT backend.
    pub(super) fn nat_pair(&self, address: SocketAddr) -> Option<u32> {
        let mut backends = self.backends();
        let is_it = |entry: &Entry| entry.identity() == (address, Forwarding::Nat);
        backends.find_map(|(pair, entry)| is_it(entry).then_some(pair))
    }

    /// The pair of another entry for an address: one that is on its way out.
    fn other_entry(&self, offset: u32, address: SocketAddr) -> Option<u32> {
        let entries = (self.extent..).zip(&self.entries);
        let others = entries.filter(|(pair, _)| *pair != self.extent + offset);
        let same = |entry: &Option<Entry>| entry.is_some_and(|entry| entry.address == address);
        let mut same = others.filter(|(_, entry)| same(entry));
        same.next().map(|(pair, _)| pair)
    }

    /// Whether flows may be with an owner that keeps none, or are reset that are not to be.
    fn is_astray(&self, flows: impl Fn(u16) -> Flows) -> bool {
        self.moving().any(|(_, row)| {
            let old = u16::try_from(row.old()).unwrap_or(Row::NONE);
            match flows(old) {
                Flows::Stay => false,
                Flows::None | Flows::Move => true,
                Flows::AreReset => old != Row::NONE,
            }
        })
    }

    fn is_occupied(&self, offset: u32) -> bool {
        self.entries
            .get(offset as usize)
            .is_some_and(Option::is_some)
    }

    /// Puts backends into free entries; where they are now.
    fn add(&mut self, new: &[Entry]) -> Vec<(u32, Entry)> {
        let free = (0..).zip(&mut self.entries).skip(1);
        let free = free.filter(|(_, place)| place.is_none());
        let put = |((offset, place), entry): ((u32, &mut Option<Entry>), &Entry)| {
            *place = Some(*entry);
            (offset, *entry)
        };
        free.zip(new).map(put).collect()
    }

    /// Takes over what is wanted of backends that have an entry.
    fn update(&mut self, wanted: &[Entry]) {
        let wanted: HashMap<Identity, Entry> = wanted.iter().map(|e| (e.identity(), *e)).collect();
        for place in self.entries.iter_mut().flatten() {
            *place = wanted.get(&place.identity()).copied().unwrap_or(*place);
        }
    }

    /// Gives the service another extent; the one before, if it had one.
    fn moved_to(&mut self, extent: u32, length: u32) -> Option<Before> {
        let before = (!self.entries.is_empty()).then_some(Before {
            extent: self.extent,
        });
        self.extent = extent;
        self.entries.resize(length as usize, None);
        before
    }
}
