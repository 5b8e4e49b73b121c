//! How large the maps are: twice of what the configuration needs, so that it may grow without being copied; of slots, which
//! take the most, what is needed and room for two more tables.

use std::{collections::BTreeSet, iter};

use lb_common::{
    attempt::{ATTEMPTS, Attempt},
    backend::Backend,
    counters::{Allowance, Traffic},
    directory::WAYS,
    flow::{Flow, FlowKey},
    fragment::{self, Fragment, FragmentKey},
    maps::{self, Meta},
    route,
    row::ROWS_PER_ELEMENT,
    verdict,
};
use serde::Serialize;

use crate::{
    config::model::{self, Config, Mode, Service},
    desired::{self, Region, State},
};

/// Lengths of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Sets of one half of `DIRECTORY`: a power of two.
    pub sets: u32,
    /// Elements of `SLOTS`.
    pub elements: u32,
    /// Entries of `BACKENDS`, `STATS` and `SIGNALS`.
    pub backends: u32,
    /// Entries of `INTERFACES`.
    pub interfaces: u32,
    /// Elements of `RANGES`.
    pub lists: u32,
    /// Elements of `POOLS`.
    pub pools: u32,
    /// Entries of `PATHS`.
    pub paths: u32,
    /// Entries of `FLOWS`.
    pub flows: u32,
    /// Buckets of `TRACKED`: a power of two.
    pub buckets: u32,
}

/// What the host has beside the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its local addresses.
    pub addresses: u32,
    /// The largest index of an interface of the configuration.
    pub highest_ifindex: u32,
    /// Whether its kernel can track flows.
    pub tracks: bool,
}

/// A map and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MapSize {
    /// Its name.
    pub name: &'static str,
    /// Its length.
    pub entries: u32,
    /// Kernel memory of its values, over all CPUs.
    pub bytes: u64,
}

/// Growth that every map allows for.
const HEADROOM: u32 = 2;
/// The least length of `INTERFACES`: indices of namespaces that come and go grow without end.
const INTERFACES: u32 = 4096;
/// Sets that overflow on an average, at most: one seed in seven is right then.
const OVERFLOWS: u128 = 2;
const LEAST_SETS: u32 = 64;
const SPARE: u32 = 16;
/// Pools that a service has at most: its backends are behind few interfaces.
const POOLS_A_SERVICE: u32 = 16;
/// Addresses that a pool is meant to have.
const ADDRESSES: u32 = 4;

/// Buckets of tracked flows: 2 MiB, 262,144 flows. The row of a flow that finds no place moves later.
const BUCKETS: u32 = 32_768;
/// Entries of `FLOWS` where no flow is remembered.
const NO_FLOWS: u32 = 64;
/// And where some are: at least, and at most.
const LEAST_FLOWS: u32 = 4096;
const MOST_FLOWS: u32 = 524_288;
/// And for NAT backends that services share.
pub const SHARED_FLOWS: u32 = 65_536;
/// What an entry of a hash map takes beside key and value: its head (`struct htab_elem` in the kernel's
/// `kernel/bpf/hashtab.c`), and one of at most two buckets.
const HASH_BYTES: usize = 48 + 2 * 16;
const FLOW_BYTES: usize = HASH_BYTES + size_of::<FlowKey>() + size_of::<Flow>();
const FRAGMENT_BYTES: usize = HASH_BYTES + size_of::<FragmentKey>() + size_of::<Fragment>();

impl Sizes {
    /// Whether flows can be remembered.
    #[must_use]
    pub const fn remember_flows(&self) -> bool {
        self.flows > NO_FLOWS
    }

    /// Whether flows of rows that change can be tracked.
    #[must_use]
    pub const fn track_flows(&self) -> bool {
        self.buckets > 1
    }

    /// Sizes for a configuration.
    #[must_use]
    pub fn of(config: &Config, host: Host) -> Self {
        let services = &config.services;
        let backends: u32 = services
            .iter()
            .map(|service| count(&service.backends))
            .sum();
        let extents: u32 = services
            .iter()
            .map(|service| extent_length(count(&service.backends)))
            .sum();
        let tables = || services.iter().map(|service| elements(service.slots()));
        let vips: BTreeSet<_> = services.iter().map(|service| service.vip.address).collect();
        let (lists, pools, paths) = (lists(services), pools(services), paths(services));
        let addresses = count_of(vips.len()) + host.addresses + pools * ADDRESSES;
        let keys = count(services) + backends + addresses + lists + paths;
        Self {
            sets: sets(keys),
            // One that takes another size stands beside the one before until that is at rest; and there may be a new one.
            elements: tables().sum::<u32>() + tables().max().unwrap_or(0) * HEADROOM + SPARE,
            backends: extents * HEADROOM + SPARE,
            interfaces: (host.highest_ifindex * HEADROOM).max(INTERFACES),
            lists: lists * HEADROOM + SPARE,
            pools: pools * HEADROOM + SPARE,
            paths: paths * HEADROOM + SPARE,
            flows: flows(config),
            buckets: buckets(host.tracks),
        }
    }

    /// At least what a state needs, where that is told without a plan: so that one is not made again for
    /// each map that is too small. Nothing shrinks.
    #[must_use]
    pub fn at_least(&self, state: &State) -> Self {
        let services = state.services.iter();
        let rows = services.clone().map(|service| elements(service.slots));
        let extents = services.map(|service| extent_length(count(&service.backends)));
        let flows = if state.specialisation.remembers_flows() {
            state.flows
        } else {
            0
        };
        Self {
            elements: roomy(self.elements, rows.sum()),
            backends: roomy(self.backends, extents.sum()),
            pools: roomy(self.pools, count(&state.pools)),
            flows: if self.remember_flows() {
                roomy(self.flows, flows)
            } else {
                self.flows.max(flows)
            },
            ..*self
        }
    }

    /// Length of a memory-mapped map.
    #[must_use]
    pub const fn entries(&self, region: Region) -> u32 {
        match region {
            Region::Control => 1,
            Region::Directory => self.sets * 2,
            Region::Slots | Region::Times => self.elements,
            Region::Tracked | Region::Origins => self.buckets,
            Region::Backends | Region::Signals => self.backends,
            Region::Routes => route::LEN * 4,
            Region::Interfaces => self.interfaces,
            Region::Ranges => self.lists,
            Region::Pools => self.pools,
            Region::Paths => self.paths,
        }
    }

    /// Length of a map by its name; `None` where it is always the same.
    #[must_use]
    pub fn length_of(&self, name: &str) -> Option<u32> {
        let mut regions = Region::ALL.into_iter();
        match name {
            maps::STATS | maps::CARRIED => Some(self.backends),
            maps::FLOWS => Some(self.flows),
            _ => {
                let region = regions.find(|region| region.name() == name);
                region.map(|region| self.entries(region))
            }
        }
    }

    /// Every map with its size; per-CPU maps have a value for each of `cpus`.
    #[must_use]
    pub fn list(&self, cpus: u32) -> Vec<MapSize> {
        let mapped = Region::ALL.map(|region| {
            let entries = self.entries(region);
            map_size(region.name(), entries, region.element_bytes(), 1)
        });
        let others = [
            map_size(maps::FLOWS, self.flows, FLOW_BYTES, 1),
            map_size(maps::ATTEMPTS, ATTEMPTS, size_of::<Attempt>(), 1),
            map_size(maps::FRAGMENTS, fragment::CAPACITY, FRAGMENT_BYTES, 1),
            map_size(maps::ALLOWANCE, 1, size_of::<Allowance>(), cpus),
            map_size(maps::STATS, self.backends, size_of::<Traffic>(), cpus),
            map_size(maps::CARRIED, self.backends, size_of::<Traffic>(), 1),
            map_size(maps::REASONS, verdict::REASONS, size_of::<u64>(), cpus),
            map_size(maps::META, 1, size_of::<Meta>(), 1),
        ];
        mapped.into_iter().chain(others).collect()
    }
}

/// Sets for so many keys, as few as do: of `n` keys in `s` sets about `s * (n / s)^5 / 5!` sets would hold five (Poisson).
fn sets(keys: u32) -> u32 {
    const FACTORIAL: u128 = 120;
    let keys = u128::from(keys).pow(5);
    let do_they = |sets: &u32| keys <= FACTORIAL * OVERFLOWS * u128::from(*sets).pow(4);
    let mut powers = iter::successors(Some(LEAST_SETS), |sets| sets.checked_mul(2));
    powers.find(do_they).unwrap_or(1 << 31)
}

/// A length that is enough, and where it must grow a power of two.
const fn roomy(length: u32, needs: u32) -> u32 {
    if needs > length {
        needs.next_power_of_two()
    } else {
        length
    }
}

/// Addresses and protocols with services on several ports, or with NAT backends of such.
fn lists(services: &[Service]) -> u32 {
    let ranged = || {
        services
            .iter()
            .filter(|service| !service.vip.ports.is_one())
    };
    let vips: BTreeSet<_> = ranged()
        .map(|service| (service.vip.address, service.vip.protocol))
        .collect();
    let backends: BTreeSet<_> = ranged()
        .flat_map(|service| {
            let backends = service.backends.iter();
            backends.map(|backend| (backend.address.ip(), service.vip.protocol))
        })
        .collect();
    count_of(vips.len() + backends.len())
}

/// Pools, at most: where a service names no sources, each backend may have another.
fn pools(services: &[Service]) -> u32 {
    let full_nat = services.iter().map(|service| {
        let backends = service.backends.iter();
        count_of(backends.filter(|b| b.mode == Mode::FullNat).count())
    });
    full_nat.map(|backends| backends.min(POOLS_A_SERVICE)).sum()
}

/// Buckets of `TRACKED`, where the kernel can track flows or not.
#[must_use]
pub const fn buckets(tracks: bool) -> u32 {
    if tracks { BUCKETS } else { 1 }
}

/// Entries of flows: two for each that the pools have room for, and a guess where NAT backends are shared,
/// whose flows nothing bounds.
#[must_use]
pub fn flows(config: &Config) -> u32 {
    let of_pools = config.services.iter().map(|service| {
        let backends = service.backends.iter();
        let backends = backends.filter(|b| b.mode == Mode::FullNat).count();
        let v6 = service.vip.address.is_ipv6();
        let sources = service.full_nat.sources.iter();
        let sources = sources
            .filter(|source| source.is_ipv6() == v6)
            .count()
            .max(1);
        let model::PortRange { first, last } = service.full_nat.ports;
        let places = count_of(sources).saturating_mul(u32::from(last - first) + 1);
        places.saturating_mul(count_of(backends)).saturating_mul(2)
    });
    let shared = SHARED_FLOWS * u32::from(desired::shares_backends(config));
    match of_pools.fold(shared, u32::saturating_add) {
        0 => NO_FLOWS,
        flows => flows.clamp(LEAST_FLOWS, MOST_FLOWS),
    }
}

/// Far ends of tunnels.
fn paths(services: &[Service]) -> u32 {
    let backends = services.iter().flat_map(|service| &service.backends);
    let tunnels = backends.filter(|backend| backend.mode.is_tunnel());
    let ends: BTreeSet<_> = tunnels.map(|b| (b.address.ip(), b.mode.word())).collect();
    count_of(ends.len())
}

const fn map_size(name: &'static str, entries: u32, value: usize, copies: u32) -> MapSize {
    MapSize {
        name,
        entries,
        bytes: entries as u64 * value as u64 * copies as u64,
    }
}

/// Length of the extent of a service with this many backends: header, backends, and room for more.
#[must_use]
pub const fn extent_length(backends: u32) -> u32 {
    (1 + backends + backends / 8).next_multiple_of(8)
}

/// Elements of `SLOTS` that a table takes.
#[must_use]
pub const fn elements(slots: u32) -> u32 {
    slots.div_ceil(ROWS_PER_ELEMENT)
}

fn count<T>(items: &[T]) -> u32 {
    count_of(items.len())
}

fn count_of(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

const _: () = assert!(size_of::<Backend>() == 64 && WAYS == 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_as_few_sets_as_do() {
        let sizes = [1, 30, 300, 10_000, 100_000].map(sets);
        assert_eq!(sizes, [64, 64, 512, 32_768, 524_288]);
    }

    #[test]
    fn an_extent_has_room_for_more_backends() {
        for backends in [0, 1, 3, 6, 7, 100, 1000] {
            let length = extent_length(backends);
            assert!(length > backends, "{backends}: {length}");
            assert!(length <= backends * 9 / 8 + 9, "{backends}: {length}");
        }
    }
}
