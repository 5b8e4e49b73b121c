//! How large the maps are: twice of what the configuration needs, so that it may grow without a gap
//! in forwarding.

use std::collections::BTreeSet;

use lb_common::{
    backend::Backend,
    counters::Traffic,
    directory::WAYS,
    maps::{self, Meta},
    route,
    row::ROWS_PER_ELEMENT,
    verdict,
};
use serde::Serialize;

use crate::{config::model::Config, desired::Region};

/// Lengths of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Sets of one half of `DIRECTORY`: a power of two.
    pub sets: u32,
    /// Elements of `SLOTS`.
    pub elements: u32,
    /// Entries of `BACKENDS` and of `STATS`.
    pub backends: u32,
    /// Entries of `INTERFACES`.
    pub interfaces: u32,
}

/// What the host has beside the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its local addresses.
    pub addresses: u32,
    /// The largest index of an interface of the configuration.
    pub highest_ifindex: u32,
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
/// Entries that a set is meant to hold when the configuration has grown by [`HEADROOM`] are 1 in 2:
/// four ways overflow then in 1 of 6,000 sets, which another seed mends.
const SETS_PER_KEY: u32 = 4;
const LEAST_SETS: u32 = 64;
const SPARE: u32 = 16;

impl Sizes {
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
        let elements: u32 = services
            .iter()
            .map(|service| elements(service.slots()))
            .sum();
        let vips: BTreeSet<_> = services.iter().map(|service| service.vip.address).collect();
        let keys = count(services) + backends + count_of(vips.len()) + host.addresses;
        Self {
            sets: (keys * SETS_PER_KEY).max(LEAST_SETS).next_power_of_two(),
            elements: elements * HEADROOM + SPARE,
            backends: extents * HEADROOM + SPARE,
            interfaces: (host.highest_ifindex * HEADROOM).max(INTERFACES),
        }
    }

    /// Length of a memory-mapped map.
    #[must_use]
    pub const fn entries(&self, region: Region) -> u32 {
        match region {
            Region::Control => 1,
            Region::Directory => self.sets * 2,
            Region::Slots => self.elements,
            Region::Backends => self.backends,
            Region::Routes => route::LEN * 4,
            Region::Interfaces => self.interfaces,
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
            map_size(maps::STATS, self.backends, size_of::<Traffic>(), cpus),
            map_size(maps::REASONS, verdict::REASONS, size_of::<u64>(), cpus),
            map_size(maps::META, 1, size_of::<Meta>(), 1),
        ];
        mapped.into_iter().chain(others).collect()
    }
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
    fn an_extent_has_room_for_more_backends() {
        for backends in [0, 1, 3, 6, 7, 100, 1000] {
            let length = extent_length(backends);
            assert!(length > backends, "{backends}: {length}");
            assert!(length <= backends * 9 / 8 + 9, "{backends}: {length}");
        }
    }
}
