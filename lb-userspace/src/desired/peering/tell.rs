//! What is news: rows that move or have come to rest, and flows that were confirmed, since the last look, and those that
//! are still in use a quarter of the idle time after they were last told.
//!
//! Half-open flows are not told: a flood of SYNs is nobody else's business, and what no client has answered
//! breaks nowhere.

use std::collections::{BTreeSet, HashMap};

use lb_common::{
    row::{Row, Times},
    tracked::{ENTRIES, Origin, Tracked},
};

use super::refresh;
use crate::{
    config::model::Vip,
    desired::{
        installed::{Installed, Service},
        store::{Region, Store},
        times::times,
    },
    peers::{FlowNews, News, Owner, RowNews},
};

/// What was told.
#[derive(Clone, Debug)]
pub struct Telling {
    /// Entries of `TRACKED` as they were told, or heard, last.
    flows: Vec<u64>,
    /// Moving rows: their old owner, and when a packet last went elsewhere.
    rows: HashMap<(Vip, u32), (u32, u16)>,
    /// Rows at rest that a peer says move.
    contested: BTreeSet<(Vip, u32)>,
    /// Whether all moving rows are told again.
    again: bool,
}

impl Telling {
    /// Nothing was told yet of so many buckets.
    #[must_use]
    pub fn new(buckets: u32) -> Self {
        Self {
            flows: vec![0; buckets as usize * ENTRIES],
            rows: HashMap::new(),
            contested: BTreeSet::new(),
            again: false,
        }
    }

    /// Has a peer told that a row is at rest here which it says moves: it was away when that was told.
    pub(super) fn contest(&mut self, vip: Vip, slot: u32) {
        self.contested.insert((vip, slot));
    }

    /// Has all moving rows be told again, to a peer that has told all that it knew: it did not say which of them are at
    /// rest there, and what it said of that before, when they came to rest, was not heard yet.
    pub(super) const fn tell_again(&mut self) {
        self.again = true;
    }

    /// Whether rows are news although none has changed.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.again || !self.contested.is_empty()
    }

    /// Puts news of tracked flows to other news. `now`: the data path's second.
    pub fn flows<S: Store>(&mut self, store: &S, installed: &Installed, now: u32, news: &mut News) {
        let mut names = Names::new(news);
        let least = installed.services.values();
        let least = least.map(|service| refresh(service.patience.idle)).min();
        let look = Look {
            store,
            extents: installed.by_extent(),
            now,
            least: least.unwrap_or(1),
        };
        let words = self.flows.len();
        store.each_word(Region::Tracked, words, &mut |index, word| {
            let Some(told) = self.flows.get_mut(index) else {
                return;
            };
            if let Some(flow) = look.judge(index, Tracked(word), Tracked(*told), &mut names) {
                names.news.flows.push(flow);
                *told = word;
            }
        });
    }

    /// The same of rows that move.
    pub fn rows<S: Store>(&mut self, store: &S, installed: &Installed, now: u32, news: &mut News) {
        let mut names = Names::new(news);
        let mut before = std::mem::take(&mut self.rows);
        let again = std::mem::take(&mut self.again);
        for (vip, service) in &installed.services {
            // Also those whose older flows are with the owner of the new ones: elsewhere they may be with another.
            for (slot, row) in service.moving() {
                let times = times(store, service.table.element(), slot);
                let key = (*vip, slot);
                let told = before.remove(&key);
                if !again && told.is_some_and(|told| !is_news(told, row, times, service, now)) {
                    self.rows.extend(told.map(|told| (key, told)));
                    continue;
                }
                let Some(owner) = names.place(*vip, service, row.old()) else {
                    continue;
                };
                self.rows.insert(key, (row.old(), times.elsewhere));
                names.news.rows.push(RowNews {
                    owner,
                    slot,
                    log2_slots: u8::try_from(service.table.log2()).unwrap_or(0),
                    quiet: times.quiet(now).min(RowNews::AT_REST - 1),
                    age: times.old(now),
                });
            }
        }
        for (vip, slot) in before.into_keys() {
            names.at_rest(installed, (vip, slot), 0);
        }
        for row in std::mem::take(&mut self.contested) {
            names.at_rest(installed, row, RowNews::ALL_ALONG);
        }
    }

    /// Takes note that a peer knows an entry of `TRACKED`.
    pub(super) fn knows(&mut self, index: usize, entry: Tracked) {
        if let Some(told) = self.flows.get_mut(index) {
            *told = entry.0;
        }
    }

    /// The same of a row.
    pub(super) fn knows_row(&mut self, vip: Vip, slot: u32, row: Row, times: Times) {
        if row.is_moving() {
            self.rows.insert((vip, slot), (row.old(), times.elsewhere));
        } else {
            self.rows.remove(&(vip, slot));
        }
    }
}

/// Whether a row is not as it was told.
fn is_news(
    (old, elsewhere): (u32, u16),
    row: Row,
    times: Times,
    service: &Service,
    now: u32,
) -> bool {
    let told = Times { elsewhere, ..times };
    let is_due = u32::from(told.quiet(now)) >= refresh(service.patience.idle);
    old != row.old() || (is_due && elsewhere != times.elsewhere)
}

struct Look<'l, S> {
    store: &'l S,
    extents: HashMap<u32, (Vip, &'l Service)>,
    now: u32,
    /// Seconds within which nothing is told again.
    least: u32,
}

impl<S: Store> Look<'_, S> {
    /// What is to be told of an entry.
    fn judge(
        &self,
        index: usize,
        entry: Tracked,
        told: Tracked,
        names: &mut Names<'_>,
    ) -> Option<FlowNews> {
        if entry == told || !entry.is_confirmed() {
            return None;
        }
        let is_told = told.is_confirmed() && entry.is_alike(told);
        if is_told && told.age(self.now) < self.least {
            return None;
        }
        let origin = self.store.load(Region::Origins, index * size_of::<u64>())?;
        let bucket = u32::try_from(index / ENTRIES).ok()?;
        // Of the entry before: what belongs to this one is written by the next look.
        let (hash, extent) = Origin(origin).of_entry(bucket, entry.tag())?;
        let (vip, service) = self.extents.get(&extent)?;
        let owner = service.entries.get(entry.owner() as usize)?.as_ref()?;
        // Its backend died since.
        if !entry.is_since(owner.since, self.now) {
            return None;
        }
        let idle = service.patience.idle;
        let is_fresh = is_told && told.age(self.now) < refresh(idle);
        if is_fresh || !entry.is_live(self.now, idle.into()) {
            return None;
        }
        Some(FlowNews {
            owner: names.place(*vip, service, entry.owner())?,
            hash,
            age: u16::try_from(entry.age(self.now)).unwrap_or(u16::MAX),
            closing: entry.is_closing(),
        })
    }
}

/// Owners in the news, by extent and distance from its header.
struct Names<'n> {
    news: &'n mut News,
    places: HashMap<(u32, u32), u32>,
}

impl<'n> Names<'n> {
    fn new(news: &'n mut News) -> Self {
        Self {
            news,
            places: HashMap::new(),
        }
    }

    /// A row does not move, or not any more. What no row of the table is any more is no news.
    fn at_rest(&mut self, installed: &Installed, (vip, slot): (Vip, u32), age: u16) -> Option<()> {
        let service = installed.services.get(&vip)?;
        let row = service
            .rows
            .get(slot as usize)
            .filter(|row| row.is_stable())?;
        let owner = self.place(vip, service, row.primary())?;
        self.news.rows.push(RowNews {
            owner,
            slot,
            log2_slots: u8::try_from(service.table.log2()).unwrap_or(0),
            quiet: RowNews::AT_REST,
            age,
        });
        Some(())
    }

    fn place(&mut self, vip: Vip, service: &Service, offset: u32) -> Option<u32> {
        let key = (service.extent, offset);
        if let Some(place) = self.places.get(&key) {
            return Some(*place);
        }
        let entry = service.entries.get(offset as usize)?.as_ref()?;
        let place = u32::try_from(self.news.owners.len()).ok()?;
        self.news.owners.push(Owner {
            vip,
            address: entry.address,
        });
        self.places.insert(key, place);
        Some(place)
    }
}
