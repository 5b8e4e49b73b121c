//! The difference between what the maps say and what they must say, as steps in an order that the
//! data path may watch.
//!
//! On the way in: backends and fresh tables, then the directory that names them, then
//! the rows of tables in use. On the way out the reverse: rows, directory, and, when no packet is
//! under way any more that saw them, the entries themselves. After every single store each VIP with
//! a live backend before and after still leads to a live one.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    directory::{Filter, Front, Key, Kind},
    interface::Interface,
    route,
};

use super::{
    change::Change,
    claims::claims,
    installed::Installed,
    leaving::{Moment, with_leaving},
    routes,
    specialisation::Specialisation,
    state::{Route, Routes, Service, State},
    store::Region,
};
use crate::config::model::Vip;

/// Steps, and what the maps say after them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps in order.
    pub changes: Vec<Change>,
    /// What the maps say then.
    pub after: Installed,
    /// Whether entries of `BACKENDS` are free then that flows may name.
    pub frees_entries: bool,
    /// Whether flows that were seen until now do not count any more: time must go on before others are.
    pub ends_flows: bool,
    /// What the program must be able to do from then on.
    pub specialisation: Specialisation,
}

/// Why a state cannot be installed; nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A map is too small.
    #[error(
        "the configuration needs {needs} entries of the map {map}, which has {has} and cannot have \
         as many: divide it among several instances"
    )]
    Outgrown {
        /// The map.
        map: &'static str,
        /// Entries that would be needed.
        needs: u64,
        /// Entries that there are.
        has: u64,
    },
    /// More backends than a row can name.
    #[error("the service {vip} has {backends} backends, expected at most {most}: split it")]
    TooManyBackends {
        /// The service.
        vip: Vip,
        /// Its backends, those included that are on their way out.
        backends: usize,
        /// The most.
        most: usize,
    },
    /// More ranges than are looked through for a packet.
    #[error(
        "{found} services on port ranges, or NAT backends of such services, have one address, \
         expected at most {most}: join ranges or use another mode"
    )]
    TooManyRanges {
        /// How many.
        found: usize,
        /// The most.
        most: u32,
    },
    /// More prefixes than are looked through for every packet.
    #[error("{found} routes to clients of one address family, expected at most {most}")]
    TooManyRoutes {
        /// How many.
        found: usize,
        /// The most.
        most: u32,
    },
}

/// Works out how to get from `installed` to `desired`.
///
/// # Errors
/// Where `desired` does not fit into the maps.
pub fn diff(installed: &Installed, desired: &State, moment: &Moment<'_>) -> Result<Plan, Refused> {
    plan(
        installed,
        &with_leaving(installed, desired, moment.tracks),
        moment,
    )
}

/// The same to a state that has all who are to stay.
pub(super) fn plan(
    installed: &Installed,
    desired: &State,
    moment: &Moment<'_>,
) -> Result<Plan, Refused> {
    let mut planner = Planner::new(installed.clone(), *moment, desired.tracks);
    planner.routes(&desired.routes)?;
    planner.interfaces(&desired.interfaces)?;
    planner.indexed(desired)?;
    planner.services(&desired.services)?;
    planner.directory(desired)?;
    planner.front(&desired.services);
    Ok(planner.finish(desired.specialisation))
}

/// A plan in the making: steps by the time at which they come.
pub(super) struct Planner<'a> {
    /// What the maps say after the plan, but that nothing is free yet that was in use before.
    pub(super) next: Installed,
    /// Writes that nothing names yet, and single words that may change at any time.
    pub(super) prepare: Vec<Change>,
    enter: Vec<Change>,
    pub(super) rows: Vec<Change>,
    pub(super) leave: Vec<Change>,
    /// After the grace period.
    pub(super) release: Vec<Change>,
    pub(super) freed: Freed,
    /// Where the desired state's pools stand in `POOLS`.
    pub(super) pool_indices: Vec<u16>,
    needs_grace: bool,
    /// Whether the directory may have to change.
    pub(super) structural: bool,
    pub(super) moment: Moment<'a>,
    /// Whether rows that change keep their flows where they are.
    pub(super) tracks: bool,
}

/// What nothing names any more after the plan.
#[derive(Debug, Default)]
pub(super) struct Freed {
    pub(super) extents: Vec<u32>,
    pub(super) elements: Vec<u32>,
    pub(super) lists: Vec<u32>,
    pub(super) pools: Vec<u16>,
    pub(super) paths: Vec<u16>,
}

impl Freed {
    const fn is_empty(&self) -> bool {
        let Self {
            extents,
            elements,
            lists,
            pools,
            paths,
        } = self;
        extents.is_empty()
            && elements.is_empty()
            && lists.is_empty()
            && pools.is_empty()
            && paths.is_empty()
    }

    fn release(self, installed: &mut Installed) {
        let Self {
            extents,
            elements,
            lists,
            pools,
            paths,
        } = self;
        for (ranges, begins) in [
            (&mut installed.extents, extents),
            (&mut installed.elements, elements),
            (&mut installed.list_elements, lists),
        ] {
            for begin in begins {
                ranges.release(begin);
            }
        }
        for index in pools {
            installed.pools.release(index);
        }
        for index in paths {
            installed.paths.release(index);
        }
    }
}

impl<'a> Planner<'a> {
    fn new(next: Installed, moment: Moment<'a>, tracks: bool) -> Self {
        Self {
            next,
            prepare: Vec::new(),
            enter: Vec::new(),
            rows: Vec::new(),
            leave: Vec::new(),
            release: Vec::new(),
            freed: Freed::default(),
            pool_indices: Vec::new(),
            needs_grace: false,
            structural: false,
            moment,
            tracks,
        }
    }

    fn routes(&mut self, desired: &Routes) -> Result<(), Refused> {
        let Routes { v4, v6 } = desired;
        for family in [v4, v6] {
            if family.len() > route::LEN as usize {
                return Err(Refused::TooManyRoutes {
                    found: family.len(),
                    most: route::LEN,
                });
            }
        }
        let installed = &mut self.next.routes;
        if installed.v4 == *v4 && installed.v6 == *v6 {
            return Ok(());
        }
        installed.half ^= 1;
        installed.v4.clone_from(v4);
        installed.v6.clone_from(v6);
        let half = installed.half;
        self.needs_grace = true;
        self.fill_routes(half, false, v4);
        self.fill_routes(half, true, v6);
        self.enter.push(Change::FlipRoutes { half });
        Ok(())
    }

    fn fill_routes(&mut self, half: u32, v6: bool, routes: &[Route]) {
        for i in 0..route::LEN {
            let wanted = routes.get(i as usize);
            let value = routes::entry(wanted);
            let index = route::index(half, v6, i);
            self.prepare.push(Change::Route { index, value });
        }
    }

    fn interfaces(&mut self, desired: &BTreeMap<u32, Interface>) -> Result<(), Refused> {
        let has = self.next.interface_capacity;
        if let Some((&index, _)) = desired.last_key_value().filter(|(index, _)| **index >= has) {
            return Err(outgrown(Region::Interfaces, index + 1, has));
        }
        let installed = core::mem::replace(&mut self.next.interfaces, desired.clone());
        for (&index, &value) in desired {
            if installed.get(&index) != Some(&value) {
                self.enter.push(Change::Interface { index, value });
            }
        }
        for &index in installed
            .keys()
            .filter(|index| !desired.contains_key(index))
        {
            let value = Interface::default();
            self.leave.push(Change::Interface { index, value });
        }
        Ok(())
    }

    fn directory(&mut self, desired: &State) -> Result<(), Refused> {
        if !self.structural && self.next.addresses == desired.addresses {
            return Ok(());
        }
        self.next.addresses.clone_from(&desired.addresses);
        self.next.claims = claims(&self.next.claims, desired);
        let mut wanted = keys(&self.next);
        wanted.extend(self.lists()?);
        let needs = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let has = self.next.directory.capacity();
        let steps = self.next.directory.sync(&wanted);
        let steps = steps.map_err(|_full| outgrown(Region::Directory, needs, has))?;
        let before = self.next.filter;
        self.next.filter = filter(&desired.addresses);
        let words = || before.0.into_iter().zip(self.next.filter.0).enumerate();
        let opened = words().map(|(word, (before, after))| (word, before, before | after));
        let closed = words().map(|(word, (before, after))| (word, before | after, after));
        self.enter.extend(stores(opened));
        self.enter.extend(steps.enter);
        self.leave.extend(steps.leave);
        self.leave.extend(stores(closed));
        self.needs_grace |= steps.frees;
        Ok(())
    }

    /// The first service of the configuration on a single port is the one whose packets are spared a
    /// wait.
    fn front(&mut self, desired: &[Service]) {
        let mut on_one_port = desired.iter().filter(|service| service.vip.ports.is_one());
        let Some(key) = on_one_port.next().map(|service| service_key(service.vip)) else {
            return;
        };
        let Some(place) = self.next.directory.place(&key) else {
            return;
        };
        let front = Front::new(place.number(), key.tag);
        if front != self.next.front {
            self.next.front = front;
            self.enter.push(Change::Front { front });
        }
    }

    fn finish(mut self, specialisation: Specialisation) -> Plan {
        let frees_entries = !self.release.is_empty() || !self.freed.extents.is_empty();
        let frees = !self.release.is_empty() || !self.freed.is_empty();
        let grace = (frees || self.needs_grace).then_some(Change::Grace);
        self.freed.release(&mut self.next);
        let ends = |change: &Change| match change {
            Change::SetStanding { standing, .. } => standing.since() == self.moment.now,
            _ => false,
        };
        let ends_flows = frees_entries || self.prepare.iter().any(ends);
        let phases = [self.prepare, self.enter, self.rows, self.leave];
        let changes = phases.into_iter().flatten();
        Plan {
            changes: changes.chain(grace).chain(self.release).collect(),
            after: self.next,
            frees_entries,
            ends_flows,
            specialisation,
        }
    }
}

pub(super) const fn outgrown(region: Region, needs: u32, has: u32) -> Refused {
    Refused::Outgrown {
        map: region.name(),
        needs: needs as u64,
        has: has as u64,
    }
}

/// The words of the filter that change: number, before and after.
fn stores(words: impl Iterator<Item = (usize, u64, u64)>) -> impl Iterator<Item = Change> {
    words
        .filter(|(_, before, after)| before != after)
        .map(|(word, _, bits)| Change::Addresses { word, bits })
}

/// The filter of exactly these addresses.
fn filter(addresses: &BTreeMap<IpAddr, u64>) -> Filter {
    addresses.keys().fold(Filter::default(), |filter, address| {
        filter.with(&Key::new(Kind::Address, (*address).into(), 0, 0))
    })
}

fn service_key(vip: Vip) -> Key {
    let protocol = vip.protocol.number();
    Key::new(
        Kind::Service,
        vip.address.into(),
        vip.ports.first(),
        protocol,
    )
}

/// Everything that the directory must say, but of ranges.
fn keys(installed: &Installed) -> BTreeMap<Key, u64> {
    let mut keys = BTreeMap::new();
    for (&address, &flags) in &installed.addresses {
        keys.insert(Key::new(Kind::Address, address.into(), 0, 0), flags);
    }
    for (far_end, index) in installed.paths.iter() {
        keys.insert(far_end.key(), u64::from(index));
    }
    for (vip, service) in &installed.services {
        if vip.ports.is_one() {
            keys.insert(service_key(*vip), service.way());
        }
    }
    for (key, claims) in &installed.claims {
        let on_one_port = claims.iter().find(|claim| claim.vip.ports.is_one());
        if let Some(pair) = on_one_port.and_then(|claim| installed.pair_of(claim)) {
            keys.insert(*key, u64::from(pair));
        }
    }
    keys
}
