//! What the directory holds, and `RANGES`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{
    address::Address,
    directory::{Filter, Front, Key, Kind, LOCAL, POOL, Seed, Set, VIP, WAYS, Way},
    range::{self, Range, Ranges},
};
use zerocopy::FromZeros as _;

use super::World;
use crate::image::Image;

/// Entries, the first of equal keys being the one that counts, and ranges.
#[derive(Debug, Default)]
pub(super) struct Contents {
    entries: Vec<(Key, u64)>,
    ranges: BTreeMap<Key, Vec<Range>>,
}

impl Contents {
    /// One port, or all from one to another.
    pub(super) fn add_ports(
        &mut self,
        (single, several): (Kind, Kind),
        (address, protocol): (IpAddr, u8),
        (first, last): (u16, u16),
        value: u64,
    ) {
        if first == last {
            let key = Key::new(single, address.into(), first, protocol);
            return self.add(key, value);
        }
        let key = Key::new(several, address.into(), 0, protocol);
        self.ranges.entry(key).or_default().push(Range {
            first,
            last,
            reserved: 0,
            value,
        });
    }

    pub(super) fn add(&mut self, key: Key, value: u64) {
        self.entries.push((key, value));
    }

    /// What lets through all that is there.
    pub(super) fn filter(&self) -> Filter {
        self.entries
            .iter()
            .fold(Filter::default(), |filter, (key, _)| filter.with(key))
    }

    /// Entries and elements of `RANGES`, what has all ports last.
    pub(super) fn finish(self) -> (Vec<(Key, u64)>, Vec<Ranges>) {
        let Self {
            mut entries,
            ranges,
        } = self;
        let mut elements = Vec::new();
        for (key, mut ranges) in ranges {
            ranges.sort_by_key(|range| ((range.first, range.last) == (0, u16::MAX), range.first));
            entries.push((key, elements.len() as u64));
            let mut element = [Range::default(); range::LEN as usize];
            for (place, range) in element.iter_mut().zip(ranges) {
                *place = range;
            }
            elements.push(element);
        }
        (entries, elements)
    }
}

impl World {
    /// Addresses that are a VIP's, this host's or a pool's.
    pub(super) fn add_addresses(&self, contents: &mut Contents) {
        let vips: BTreeSet<Address> = self
            .services
            .iter()
            .map(|service| service.vip.ip().into())
            .collect();
        let local: BTreeSet<Address> = self.local.iter().copied().map(Address::from).collect();
        let pools: BTreeSet<Address> = self
            .pools
            .iter()
            .flat_map(|pool| &pool.addresses[..pool.count as usize])
            .copied()
            .collect();
        let all: BTreeSet<Address> = [&vips, &local, &pools]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        for address in all {
            let value = [(&vips, VIP), (&local, LOCAL), (&pools, POOL)]
                .into_iter()
                .filter(|(addresses, _)| addresses.contains(&address))
                .fold(0, |value, (_, bit)| value | bit);
            contents.add(Key::new(Kind::Address, address, 0, 0), value);
        }
    }

    /// The first service's place, if it has one port.
    pub(super) fn front(&self, image: &Image) -> u64 {
        let Some(service) = self.services.first() else {
            return 0;
        };
        let (ip, port) = (service.vip.ip(), service.vip.port());
        let tag = Key::new(Kind::Service, ip.into(), port, service.protocol).tag;
        let mut ways = image.directory.iter().flat_map(|set| set.ways);
        let way = ways.position(|way| way.tag == tag);
        way.map_or(0, |way| Front::new(way as u32, tag).0)
    }
}

/// Sets of one half: one entry a set on average, of four that fit.
pub(super) fn sets(entries: &[(Key, u64)]) -> usize {
    entries.len().next_power_of_two().max(WAYS * 16)
}

/// Tries seeds until no set overflows.
pub(super) fn fill(image: &mut Image, sets: usize, entries: &[(Key, u64)]) {
    let seed = (0..1000).map(|n| Seed::new(n, 0)).find(|seed| {
        let mut directory = vec![Set::new_zeroed(); 2 * sets];
        let fits = entries.iter().all(|(key, value)| {
            insert(
                &mut directory,
                *seed,
                image.constants.set_shift,
                key,
                *value,
            )
        });
        if fits {
            image.directory = directory;
        }
        fits
    });
    image.control.directory = seed.expect("a seed under which no set overflows").0;
}

fn insert(sets: &mut [Set], seed: Seed, set_shift: u32, key: &Key, value: u64) -> bool {
    let set = &mut sets[seed.set(key.tag, set_shift) as usize];
    if set.find(key, true).is_some() {
        return true;
    }
    let Some(way) = set.ways.iter_mut().find(|way| way.tag == 0) else {
        return false;
    };
    *way = Way {
        tag: key.tag,
        value,
        rest: key.rest,
        reserved: 0,
    };
    true
}
