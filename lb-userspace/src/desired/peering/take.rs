//! What is taken of what a peer tells. What this balancer knows itself comes first: nothing that a peer says
//! moves a flow that this one has.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use lb_common::{
    backend::State,
    row::{Row, Times},
    tracked::{ENTRIES, Origin, Place, Tracked},
};

use super::{Parked, Telling, refresh};
use crate::{
    config::model::Vip,
    desired::{
        change::Change,
        entry::Entry,
        installed::{Installed, Service},
        store::{Region, Store, StoreError},
        times::times,
    },
    peers::{FlowNews, Left, News, Owner, RowNews, Taken},
};

/// What the taking goes by beside maps and news.
#[expect(missing_debug_implementations, reason = "a function has none")]
pub struct Taker<'a> {
    /// The data path's second.
    pub now: u32,
    /// Buckets of `TRACKED`, a power of two.
    pub buckets: u32,
    /// Whether packets ever went to a pair from here: without any it has no flows of this balancer's.
    pub has_traffic: &'a dyn Fn(u32) -> bool,
}

/// Takes over what a peer tells.
///
/// # Errors
/// Where a store fails.
pub fn take<S: Store>(
    store: &mut S,
    installed: &mut Installed,
    (telling, parked): (&mut Telling, &mut Parked),
    news: &News,
    taker: &Taker<'_>,
) -> Result<Taken, StoreError> {
    let owners = news.owners.iter().map(|owner| find(installed, owner));
    let mut taking = Taking {
        owners: owners.collect(),
        store,
        installed,
        telling,
        parked,
        named: &news.owners,
        taker,
        taken: Taken::default(),
        traffic: HashMap::new(),
        rows: BTreeMap::new(),
    };
    for row in &news.rows {
        taking.row(row);
    }
    for flow in &news.flows {
        taking.flow(flow);
    }
    if news.completes {
        taking.telling.tell_again();
    }
    taking.finish()
}

/// A backend, as this balancer has it.
#[derive(Clone, Copy)]
struct Known {
    vip: Vip,
    offset: u16,
    since: u32,
}

/// Whether a backend is there and not down: what is told of its flows is taken.
#[must_use]
pub fn is_up(installed: &Installed, owner: &Owner) -> bool {
    find(installed, owner).is_ok()
}

/// Who that is here.
fn find(installed: &Installed, owner: &Owner) -> Result<Known, Left> {
    let service = installed.services.get(&owner.vip);
    let service = service.ok_or(Left::UnknownService)?;
    let (offset, entry) = service.at(owner.address).ok_or(Left::UnknownBackend)?;
    if entry.state == State::Down {
        return Err(Left::BackendDown);
    }
    Ok(Known {
        vip: owner.vip,
        offset,
        since: entry.since,
    })
}

impl Service {
    /// The entry of an address: one that may take flows, where there are several.
    fn at(&self, address: SocketAddr) -> Option<(u16, Entry)> {
        let theirs = self
            .by_offset()
            .filter(|(_, entry)| entry.address == address);
        theirs.max_by_key(|(_, entry)| entry.precedence())
    }
}

struct Taking<'t, S> {
    owners: Vec<Result<Known, Left>>,
    store: &'t mut S,
    installed: &'t mut Installed,
    telling: &'t mut Telling,
    parked: &'t mut Parked,
    named: &'t [Owner],
    taker: &'t Taker<'t>,
    taken: Taken,
    /// Pairs that packets went to, as far as was asked.
    traffic: HashMap<u32, bool>,
    /// Rows that change, or that are still in use elsewhere.
    rows: BTreeMap<(Vip, u32), (Row, Times)>,
}

impl<S: Store> Taking<'_, S> {
    /// Who a backend is that is down here.
    fn down(&self, place: u32) -> Option<Owner> {
        let known = self.owners.get(place as usize)?;
        let is_down = matches!(known, Err(Left::BackendDown));
        self.named.get(place as usize).filter(|_| is_down).copied()
    }

    /// Whether what was seen so many seconds ago is of a backend that is down here, but was seen to return elsewhere: a
    /// peer may notice a death some seconds later than this balancer.
    fn is_after_death(&self, owner: &Owner, age: u16) -> bool {
        const LATER: u32 = 2;
        let service = self.installed.services.get(&owner.vip);
        let entry = service.and_then(|service| service.at(owner.address));
        entry.is_some_and(|(_, entry)| ago(self.taker.now, age) > entry.since + LATER)
    }

    fn owner(&mut self, place: u32) -> Option<Known> {
        let known = self.owners.get(place as usize).copied();
        match known.unwrap_or(Err(Left::UnknownBackend)) {
            Ok(known) => Some(known),
            Err(why) => {
                self.taken.leave(why);
                None
            }
        }
    }

    fn row(&mut self, told: &RowNews) {
        let Some(known) = self.owner(told.owner) else {
            let down = self.down(told.owner);
            let down = down.filter(|_| told.quiet != RowNews::AT_REST);
            down.inspect(|owner| self.parked.row(*owner, *told, self.taker.now));
            return;
        };
        let Some((row, here)) = self.look(known.vip, told.slot) else {
            return self.taken.leave(Left::UnknownService);
        };
        let Some(service) = self.installed.services.get(&known.vip) else {
            return;
        };
        if service.table.log2() != u32::from(told.log2_slots) {
            return self.taken.leave(Left::UnknownService);
        }
        let (extent, idle) = (service.extent, service.patience.idle);
        if told.quiet == RowNews::AT_REST {
            // Of a row that moved here alone nobody knows but this balancer.
            if told.age != RowNews::ALL_ALONG || !self.has_traffic(extent + row.old()) {
                self.rest(known, told.slot, (row, here), refresh(idle));
            }
            return;
        }
        let has_traffic = |offset| self.has_traffic(extent + offset);
        let Some(next) = next(row, known.offset, has_traffic) else {
            if row.is_stable() {
                self.telling.contest(known.vip, told.slot);
            }
            return self.taken.leave(Left::KnownOtherwise);
        };
        if !next.is_moving() {
            return;
        }
        let now = self.taker.now;
        let times = if row.is_moving() {
            later(here, ago(now, told.quiet), now)
        } else {
            self.taken.rows += 1;
            Times {
                elsewhere: Times::at(ago(now, told.quiet)).elsewhere,
                changed: Times::at(ago(now, told.age)).changed,
            }
        };
        self.rows.insert((known.vip, told.slot), (next, times));
    }

    /// A row that is at rest there comes to rest here as well, unless packets of older flows came this way lately:
    /// the flows that are opened there from now on are with its owner, and nobody tells of them.
    fn rest(&mut self, known: Known, slot: u32, (row, here): (Row, Times), lately: u32) {
        let is_same = row.is_moving() && row.primary() == u32::from(known.offset);
        if is_same && u32::from(here.quiet(self.taker.now)) >= lately {
            let at_rest = (Row::stable(known.offset), here);
            self.rows.insert((known.vip, slot), at_rest);
        }
    }

    /// A row as it is now.
    fn look(&self, vip: Vip, slot: u32) -> Option<(Row, Times)> {
        if let Some(changed) = self.rows.get(&(vip, slot)) {
            return Some(*changed);
        }
        let service = self.installed.services.get(&vip)?;
        let row = *service.rows.get(slot as usize)?;
        Some((row, times(self.store, service.table.element(), slot)))
    }

    fn has_traffic(&mut self, pair: u32) -> bool {
        let ask = self.taker.has_traffic;
        *self.traffic.entry(pair).or_insert_with(|| ask(pair))
    }

    fn flow(&mut self, told: &FlowNews) {
        let Some(known) = self.owner(told.owner) else {
            let down = self.down(told.owner);
            let down = down.filter(|owner| self.is_after_death(owner, told.age));
            down.inspect(|owner| self.parked.flow(*owner, *told, self.taker.now));
            return;
        };
        let Some(service) = self.installed.services.get(&known.vip) else {
            return;
        };
        let (slot, extent) = (service.table.slot(told.hash), service.extent);
        let idle = service.patience.idle;
        let now = self.taker.now;
        // Older than the backend's entry here, it would not count: the peer's word does.
        let seen = ago(now, told.age).max(known.since + 1).min(now);
        let place = Place::of(told.hash);
        let entry = Tracked::confirmed(place.tag, known.offset.into(), seen);
        let entry = if told.closing {
            entry.seen_at(seen, true)
        } else {
            entry
        };
        if !entry.is_live(now, idle.into()) {
            return;
        }
        match self.insert(entry, place, known.vip, idle) {
            Ok((index, is_new)) => {
                let origin = Origin::of(told.hash, extent);
                // The map has the length of `TRACKED`, where the entry found its place.
                let offset = index * size_of::<u64>();
                let noted = self.store.store_u64(Region::Origins, offset, origin.0);
                if noted.is_ok() {
                    self.telling.knows(index, entry);
                }
                self.taken.flows += u64::from(is_new);
            }
            Err(Some(why)) => return self.taken.leave(why),
            // What stands there says as much, or more.
            Err(None) => {}
        }
        self.hold(known, slot, seen);
    }

    /// Has packets of a flow looked up that is not with its row's owner.
    fn hold(&mut self, known: Known, slot: u32, seen: u32) {
        let Some((row, here)) = self.look(known.vip, slot) else {
            return;
        };
        if row.primary() == u32::from(known.offset) {
            return;
        }
        let now = self.taker.now;
        let changed = if row.is_moving() {
            (row, later(here, seen, now))
        } else {
            self.taken.rows += 1;
            let primary = u16::try_from(row.primary()).unwrap_or(Row::NONE);
            let times = Times {
                elsewhere: Times::at(seen).elsewhere,
                changed: Times::at(now).changed,
            };
            (Row::moving(primary, primary), times)
        };
        self.rows.insert((known.vip, slot), changed);
    }

    /// Puts an entry into its bucket: its number in the map, and whether the flow was not known. `None`: what
    /// stands there is as good.
    fn insert(
        &mut self,
        entry: Tracked,
        place: Place,
        vip: Vip,
        idle: u16,
    ) -> Result<(usize, bool), Option<Left>> {
        let first = (place.bucket & (self.taker.buckets - 1)) as usize * ENTRIES;
        let mut free = None;
        for index in first..first + ENTRIES {
            let offset = index * size_of::<u64>();
            let before = Tracked(self.store.load(Region::Tracked, offset).unwrap_or(0));
            let is_live = before.is_live(self.taker.now, idle.into()) && self.is_valid(vip, before);
            if before.tag() == place.tag && is_live {
                let is_new = self.replaces(before, entry)?;
                return self.put(index, before, entry).map(|index| (index, is_new));
            }
            if !is_live && free.is_none() {
                free = Some((index, before));
            }
        }
        let (index, before) = free.ok_or(Some(Left::NoRoom))?;
        self.put(index, before, entry).map(|index| (index, true))
    }

    /// Whether an entry's backend is still the one that its flow was with, as the data path judges it. Where it died, a
    /// client may use the flow's ports again before its idle time is over.
    fn is_valid(&self, vip: Vip, entry: Tracked) -> bool {
        let service = self.installed.services.get(&vip);
        let owner = service.and_then(|it| it.entries.get(entry.owner() as usize).copied()?);
        owner.is_some_and(|owner| entry.is_since(owner.since, self.taker.now))
    }

    /// Whether what a peer tells of a flow is more than what is known of it here.
    fn replaces(&self, own: Tracked, told: Tracked) -> Result<bool, Option<Left>> {
        let now = self.taker.now;
        if !own.is_confirmed() || (own.is_closing() && !told.is_closing()) {
            return Ok(true);
        }
        if own.owner() != told.owner() {
            return Err(Some(Left::KnownOtherwise));
        }
        let is_more = told.age(now) < own.age(now) || (told.is_closing() && !own.is_closing());
        is_more.then_some(false).ok_or(None)
    }

    fn put(
        &mut self,
        index: usize,
        before: Tracked,
        entry: Tracked,
    ) -> Result<usize, Option<Left>> {
        let offset = index * size_of::<u64>();
        let put = self
            .store
            .replace(Region::Tracked, offset, before.0, entry.0);
        // The data path was faster, with a packet of its own.
        put.then_some(index).ok_or(None)
    }

    fn finish(self) -> Result<Taken, StoreError> {
        let mut changes: BTreeMap<Vip, Vec<(u32, Row, Times)>> = BTreeMap::new();
        for ((vip, slot), (row, times)) in self.rows {
            self.telling.knows_row(vip, slot, row, times);
            changes.entry(vip).or_default().push((slot, row, times));
        }
        for (vip, rows) in changes {
            let Some(service) = self.installed.services.get_mut(&vip) else {
                continue;
            };
            let element = service.table.element();
            let set: Vec<_> = rows.iter().map(|(slot, row, _)| (*slot, *row)).collect();
            Change::Told { element, rows }.apply(self.store)?;
            service.set_rows(&set);
        }
        Ok(self.taken)
    }
}

/// What becomes of a row whose older flows a peer has with `old`; `None`: it stays as it is, because this
/// balancer knows otherwise: it has flows of its own. `has_traffic`: whether packets ever went to a backend.
fn next(row: Row, old: u16, mut has_traffic: impl FnMut(u32) -> bool) -> Option<Row> {
    if row != Row::EMPTY && row.old() == u32::from(old) {
        return Some(row);
    }
    // A row that moved here has its flows with another one, and at rest with its owner, if there are any.
    let mut may_have = |owner| owner != u32::from(Row::NONE) && has_traffic(owner);
    let has_history = row.is_moving() && row.old() != row.primary();
    if may_have(row.primary()) || has_history && may_have(row.old()) {
        return None;
    }
    let primary = u16::try_from(row.primary()).unwrap_or(Row::NONE);
    Some(Row::moving(primary, old))
}

/// The second so many seconds ago, and one more: an age is rounded down, and must not shrink on its way from
/// balancer to balancer.
fn ago(now: u32, age: u16) -> u32 {
    now.saturating_sub(u32::from(age) + 1).max(1)
}

/// Times of a row of which a packet went elsewhere in this second, too.
const fn later(times: Times, elsewhere: u32, now: u32) -> Times {
    let told = Times {
        elsewhere: Times::at(elsewhere).elsewhere,
        ..times
    };
    if told.quiet(now) < times.quiet(now) {
        told
    } else {
        times
    }
}
