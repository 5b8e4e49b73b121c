//! What the maps say, and where in them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::{
    backend::{Header, Standing, State},
    directory::{Filter, Front, Table, Way},
    interface::Interface,
    row::Row,
};
use zerocopy::FromZeros as _;

use super::{
    alloc::Ranges,
    claims::Claims,
    entry::Entry,
    health_of,
    indexed::{FarEnd, Indexed},
    lists::Lists,
    placement::Directory,
    state::{Forwarding, Patience, Pool, Route},
};
use crate::{
    config::model::Vip,
    dataplane::sizes::Sizes,
    health::Health,
    rare,
    slot_table::{Member, Part, SlotTable},
};

/// What the maps say, and where in them. Cloning is cheap: slot tables are shared.
#[derive(Clone, Debug)]
pub struct Installed {
    pub(super) seed: u64,
    pub(super) services: BTreeMap<Vip, Service>,
    pub(super) addresses: BTreeMap<IpAddr, u64>,
    pub(super) interfaces: BTreeMap<u32, Interface>,
    pub(super) routes: InstalledRoutes,
    pub(super) directory: Directory,
    /// Of the addresses in the directory.
    pub(super) filter: Filter,
    /// The way that is looked at first.
    pub(super) front: Front,
    /// Ranges of `BACKENDS`.
    pub(super) extents: Ranges,
    /// Ranges of `SLOTS`.
    pub(super) elements: Ranges,
    /// Length of `INTERFACES`.
    pub(super) interface_capacity: u32,
    /// Whom the replies of backends come from.
    pub(super) claims: Claims,
    /// What stands in `RANGES`.
    pub(super) lists: Lists,
    /// Elements of `RANGES`.
    pub(super) list_elements: Ranges,
    /// What stands in `POOLS`.
    pub(super) pools: Indexed<Pool>,
    /// What `PATHS` is about.
    pub(super) paths: Indexed<FarEnd>,
}

/// The ways to clients, and the half that holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InstalledRoutes {
    pub(super) half: u32,
    pub(super) v4: Vec<Route>,
    pub(super) v6: Vec<Route>,
}

/// A service, and where it stands.
#[derive(Clone, Debug)]
pub struct Service {
    /// Index of its header in `BACKENDS`.
    pub(super) extent: u32,
    /// Where its rows stand.
    pub(super) table: Table,
    /// Its extent; the first entry is the header's and always empty.
    pub(super) entries: Vec<Option<Entry>>,
    pub(super) rows: Arc<Vec<Row>>,
    /// How long its flows keep rows moving.
    pub(super) patience: Patience,
    /// Entries on their way out that no row names any more, by their distance from the header, and since
    /// when.
    pub(super) lingering: BTreeMap<u16, u32>,
    /// Who owns the slots; `None` after adoption, until the first change.
    pub(super) owners: Option<Arc<Owners>>,
}

/// A slot table, and the members that it was built of, in the order of their addresses.
#[derive(Clone, Debug)]
pub(super) struct Owners {
    pub(super) members: Vec<Member>,
    pub(super) slots: SlotTable,
}

impl Installed {
    /// What freshly made maps say: nothing. `seed` is that of the slot tables.
    #[must_use]
    pub fn empty(seed: u64, sizes: &Sizes) -> Self {
        Self {
            seed,
            services: BTreeMap::new(),
            addresses: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            routes: InstalledRoutes::default(),
            directory: Directory::new(sizes.sets),
            filter: Filter::default(),
            front: Front::default(),
            extents: Ranges::new(sizes.backends),
            elements: Ranges::new(sizes.elements),
            interface_capacity: sizes.interfaces,
            claims: Claims::new(),
            lists: Lists::new(),
            list_elements: Ranges::new(sizes.lists),
            pools: Indexed::new(sizes.pools),
            paths: Indexed::new(sizes.paths),
        }
    }

    /// The VIPs of the services.
    pub fn vips(&self) -> impl Iterator<Item = Vip> {
        self.services.keys().copied()
    }

    /// Places of the pool that a backend's flows get their sources from; `None` where they keep their own.
    #[must_use]
    pub fn places(&self, entry: &Entry) -> Option<u32> {
        let Forwarding::FullNat(wanted) = entry.forwarding else {
            return None;
        };
        let mut pools = self.pools.iter();
        let (pool, _) = pools.find(|(_, index)| *index == wanted)?;
        Some(pool.places())
    }

    /// Where a pool of `POOLS` stands among others, at their end where it does not yet.
    pub(super) fn pool_place(&self, index: u16, pools: &mut Vec<Pool>) -> Option<u16> {
        let (pool, _) = self.pools.iter().find(|(_, other)| *other == index)?;
        let known = pools.iter().position(|other| other == pool);
        let place = known.unwrap_or_else(|| {
            pools.push(pool.clone());
            pools.len() - 1
        });
        u16::try_from(place).ok()
    }

    /// Whether a service has rows that move.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.services.values().any(Service::is_moving)
    }

    /// Whether backends are on their way out that only flows name.
    #[must_use]
    pub fn lingers(&self) -> bool {
        self.services
            .values()
            .any(|service| !service.lingering.is_empty())
    }

    /// The longest idle time of a service's flows.
    #[must_use]
    pub fn longest_idle(&self) -> u32 {
        let idle = self.services.values().map(|service| service.patience.idle);
        idle.max().unwrap_or(0).into()
    }

    /// The index of the path to a tunnel's end in `PATHS`.
    #[must_use]
    pub fn path_to(&self, address: IpAddr, is_gue: bool) -> Option<u16> {
        self.paths.index(&FarEnd { address, is_gue })
    }

    /// The indices of tunnels' paths in `PATHS`.
    pub fn paths(&self) -> impl Iterator<Item = u16> {
        self.paths.iter().map(|(_, index)| index)
    }

    /// What the maps say of every backend's health.
    #[must_use]
    pub fn health(&self) -> BTreeMap<(Vip, SocketAddr), Health> {
        let services = self.services.iter();
        let backends = services.flat_map(|(vip, service)| {
            let with_vip =
                |(_, entry): (u32, &Entry)| Some(((*vip, entry.address), health_of(entry.state)?));
            service.backends().filter_map(with_vip)
        });
        backends.collect()
    }

    /// Services by the index of their header.
    pub(super) fn by_extent(&self) -> HashMap<u32, (Vip, &Service)> {
        let services = self.services.iter();
        let by_extent = services.map(|(vip, service)| (service.extent, (*vip, service)));
        by_extent.collect()
    }

    /// A service.
    #[must_use]
    pub fn service(&self, vip: Vip) -> Option<&Service> {
        self.services.get(&vip)
    }

    /// The service that a backend with this index of counters belongs to.
    #[must_use]
    pub fn vip_of(&self, pair: u32) -> Option<Vip> {
        let mut services = self.services.iter();
        let theirs = |service: &Service| {
            let distance = pair.checked_sub(service.extent);
            distance.is_some_and(|distance| distance < service.length())
        };
        let (vip, _) = services.find(|(_, service)| theirs(service))?;
        Some(*vip)
    }
}

impl Service {
    /// Index of the service's own counters in `STATS`: packets that it dropped.
    #[must_use]
    pub const fn pair(&self) -> u32 {
        self.extent
    }

    /// Slots of its table.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.table.slots()
    }

    /// Its backends, each with the index of its counters in `STATS`.
    pub fn backends(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let pairs = self.extent..;
        pairs
            .zip(&self.entries)
            .filter_map(|(pair, entry)| Some((pair, entry.as_ref()?)))
    }

    /// The indices of the counters of each address: first that of the entry that new flows go to, then those of
    /// entries on their way out.
    #[must_use]
    pub fn pairs(&self) -> HashMap<SocketAddr, Vec<u32>> {
        let mut backends: Vec<_> = self.backends().collect();
        backends.sort_by_key(|(_, entry)| Reverse(entry.precedence()));
        let mut pairs = HashMap::<_, Vec<u32>>::new();
        for (pair, entry) in backends {
            pairs.entry(entry.address).or_default().push(pair);
        }
        pairs
    }

    /// Checksum of the table, equal where tables are equal; `None` between adoption and the first
    /// change.
    #[must_use]
    pub fn checksum(&self) -> Option<u64> {
        Some(self.owners.as_ref()?.slots.checksum())
    }

    /// Whether others than this backend take flows, and it does not.
    #[must_use]
    pub fn is_served_without(&self, address: SocketAddr) -> bool {
        let members = self.owners.iter().flat_map(|owners| &owners.members);
        let takes = |member: &&Member| member.live && member.part > Part::NONE;
        let mut takers = members.filter(takes).peekable();
        takers.peek().is_some() && takers.all(|member| member.address != address)
    }

    /// Whether a backend takes only a part of its slots.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        let mut members = self.owners.iter().flat_map(|owners| &owners.members);
        members.any(|member| member.live && member.part < Part::WHOLE)
    }

    /// How much of its slots each backend takes.
    #[must_use]
    pub fn parts(&self) -> HashMap<SocketAddr, Part> {
        let members = self.owners.iter().flat_map(|owners| &owners.members);
        members
            .map(|member| (member.address, member.part))
            .collect()
    }

    /// Rows whose flows may be elsewhere than with their owner.
    #[must_use]
    pub fn moving_rows(&self) -> u32 {
        u32::try_from(self.moving().count()).unwrap_or(u32::MAX)
    }

    /// Whether of every backend something is known.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let mut entries = self.entries.iter().flatten();
        entries.all(|entry| entry.state != State::Unknown)
    }

    /// Slots whose rows move, and these.
    pub(super) fn moving(&self) -> impl Iterator<Item = (u32, Row)> {
        rare::items(&self.rows, Row::is_moving)
    }

    /// Those of them whose older flows are with another backend than the new ones.
    pub(super) fn split(&self) -> impl Iterator<Item = (u32, Row)> {
        self.moving().filter(|(_, row)| row.old() != row.primary())
    }

    /// Its backends by their distance from the header.
    pub(super) fn by_offset(&self) -> impl Iterator<Item = (u16, Entry)> {
        let entries = (0u16..).zip(&self.entries);
        entries.filter_map(|(offset, entry)| Some((offset, (*entry)?)))
    }

    /// Slots that each backend had before and whose older flows it may have, by the index of its
    /// counters.
    #[must_use]
    pub fn leaving_shares(&self) -> HashMap<u32, u32> {
        self.by_pair(self.split().map(|(_, row)| row.old()))
    }

    /// About how many flows each backend has in slots that others own now, by the index of its counters:
    /// as many as make so many of its slots busy by chance ("linear counting": Whang, Vander-Zanden,
    /// Taylor, 1990). `is_busy`: whether a packet of a slot went elsewhere of late, by the first element of
    /// the table and the slot.
    #[must_use]
    pub fn flows_left(&self, is_busy: impl Fn(u32, u32) -> bool) -> HashMap<u32, u64> {
        let mut slots = HashMap::<u32, (u32, u32)>::new();
        for (slot, row) in self.split() {
            let (all, busy) = slots.entry(self.extent + row.old()).or_default();
            *all += 1;
            *busy += u32::from(is_busy(self.table.element(), slot));
        }
        let estimate = |(pair, (all, busy))| (pair, linear_count(all, busy));
        slots.into_iter().map(estimate).collect()
    }

    /// Slots that each backend owns, by the index of its counters.
    #[must_use]
    pub fn shares(&self) -> HashMap<u32, u32> {
        self.by_pair(self.rows.iter().map(|row| row.primary()))
    }

    /// How often each entry comes among distances from the header, by the index of its counters. [`Row::NONE`] is nobody's.
    fn by_pair(&self, distances: impl Iterator<Item = u32>) -> HashMap<u32, u32> {
        let mut counts = vec![0; self.entries.len()];
        for distance in distances {
            if let Some(count) = counts.get_mut(distance as usize) {
                *count += 1;
            }
        }
        let counted = (self.extent..).zip(counts).skip(1);
        counted.filter(|(_, count)| *count > 0).collect()
    }

    pub(super) const fn way(&self) -> u64 {
        Way::service(self.table, self.extent)
    }

    pub(super) fn length(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn header(&self, vip: Vip) -> Header {
        let mut header = Header::new_zeroed();
        header.vip = vip.address.into();
        header.port = vip.ports.first().to_be_bytes();
        header.last_port = vip.ports.last().to_be_bytes();
        header.protocol = vip.protocol.number();
        header.length = self.length();
        header.table = self.table.0;
        header.idle = self.patience.idle;
        header.deadline = self.patience.deadline;
        header.flags = (u8::from(self.patience.resets) * Header::RESETS)
            | (u8::from(self.patience.learns) * Header::LEARNS)
            | (u8::from(self.patience.hands_over) * Header::HANDS_OVER)
            | (u8::from(self.patience.refuses) * Header::REFUSES);
        header.affinity = self.patience.affinity;
        header.standing = Standing::new(State::Header, 0);
        header
    }
}

/// How many things, each of which marks one of `all` places by chance, leave `marked` of them marked.
pub(super) fn linear_count(all: u32, marked: u32) -> u64 {
    let (places, free) = (f64::from(all), f64::from(all - marked).max(0.5));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of at most some millions"
    )]
    let things = (places * (places / free).ln()).round() as u64;
    things
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_marks_are_as_many_things_and_many_are_more() {
        assert_eq!(linear_count(0, 0), 0);
        assert_eq!(linear_count(1000, 0), 0);
        assert_eq!(linear_count(1000, 10), 10);
        assert_eq!(linear_count(1000, 632), 1000);
        assert!(linear_count(1000, 1000) > 5000);
    }
}
