//! The pinned maps, opened: memory-mapped regions, counters, and what the next daemon must know.

use std::{collections::BTreeMap, fmt};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use lb_common::{
    directory::Set,
    flow::{Flow, FlowKey},
    maps::{self, LAYOUT_VERSION, Meta},
};

use super::{
    counted::Counted,
    error::Error,
    flows::Flows,
    memory::{self, MapValue, Mapped},
    pins::Pins,
    sizes::{self, Sizes},
    tracks_flows,
};
use crate::desired::{Region, Store, StoreError};

/// The maps of an instance.
pub(super) struct Maps {
    regions: BTreeMap<Region, Mapped>,
    pub(super) counted: Counted,
    pub(super) reasons: PerCpuArray<MapData, u64>,
    sizes: Sizes,
    cpus: usize,
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps")
            .field("sizes", &self.sizes)
            .finish_non_exhaustive()
    }
}

impl Maps {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// Where one is missing, or is not of this version's layout.
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let sizes = read_sizes(pins)?;
        let mut regions = BTreeMap::new();
        for region in Region::ALL {
            regions.insert(region, self::region(pins, region)?);
        }
        Ok(Self {
            regions,
            counted: Counted::open(pins)?,
            reasons: per_cpu(pins, maps::REASONS)?,
            sizes,
            cpus: cpus()?,
        })
    }

    /// Their sizes.
    #[must_use]
    pub(super) const fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// CPUs that per-CPU maps have a value for.
    #[must_use]
    pub(super) const fn cpus(&self) -> usize {
        self.cpus
    }

    /// Lets go of what is looked at while rows move, until that is again.
    pub(super) fn rows_are_at_rest(&mut self) {
        for region in [Region::Times, Region::Tracked, Region::Origins] {
            if let Some(mapped) = self.regions.get_mut(&region) {
                mapped.let_go();
            }
        }
    }

    fn region(&mut self, region: Region, offset: usize) -> Result<&mut Mapped, StoreError> {
        self.regions
            .get_mut(&region)
            .ok_or_else(|| outside(region, offset))
    }
}

impl Store for Maps {
    fn load(&self, region: Region, offset: usize) -> Option<u64> {
        self.regions.get(&region)?.load(offset)
    }

    fn store_u64(&mut self, region: Region, offset: usize, word: u64) -> Result<(), StoreError> {
        let stored = self.region(region, offset)?.store_u64(offset, word);
        stored.ok_or_else(|| outside(region, offset))
    }

    fn store_u32(&mut self, region: Region, offset: usize, word: u32) -> Result<(), StoreError> {
        let stored = self.region(region, offset)?.store_u32(offset, word);
        stored.ok_or_else(|| outside(region, offset))
    }

    fn replace(&mut self, region: Region, offset: usize, before: u64, after: u64) -> bool {
        let mapped = self.regions.get(&region);
        mapped.is_some_and(|mapped| mapped.replace(offset, before, after))
    }

    fn each_word(&self, region: Region, words: usize, visit: &mut dyn FnMut(usize, u64)) {
        let Some(mapped) = self.regions.get(&region) else {
            return;
        };
        for index in 0..words {
            match mapped.load(index * size_of::<u64>()) {
                Some(word) if word != 0 => visit(index, word),
                _ => {}
            }
        }
    }

    fn grace_period(&mut self) -> Result<(), StoreError> {
        memory::grace_period().map_err(|source| StoreError::Kernel {
            what: "wait for packets that are under way (membarrier)",
            source,
        })
    }

    fn reset_traffic(&mut self, pair: u32, inherit: Option<u32>) -> Result<(), StoreError> {
        self.counted
            .reset(pair, inherit)
            .map_err(|error| StoreError::Kernel {
                what: "write counters",
                source: std::io::Error::other(error),
            })?;
        let size = Region::Signals.element_bytes();
        for field in (0..size).step_by(size_of::<u64>()) {
            let before = inherit.map(|other| Region::Signals.offset(other) + field);
            let before = before.and_then(|offset| self.load(Region::Signals, offset));
            let offset = Region::Signals.offset(pair) + field;
            self.store_u64(Region::Signals, offset, before.unwrap_or(0))?;
        }
        Ok(())
    }
}

const fn outside(region: Region, offset: usize) -> StoreError {
    let map = region.name();
    StoreError::Outside { map, offset }
}

/// What a daemon left for the next one.
///
/// # Errors
/// Where it cannot be read.
pub(super) fn read_meta(pins: &Pins) -> Result<Meta, Error> {
    let data = open(pins, maps::META)?;
    let info = data.info().map_err(Error::map(maps::META))?;
    if info.value_size() as usize != size_of::<Meta>() {
        return Err(other_layout(pins, 0));
    }
    let meta: Array<_, MapValue<Meta>> = into(maps::META, data)?;
    let MapValue(meta) = meta.get(&0, 0).map_err(Error::map(maps::META))?;
    Ok(meta)
}

/// Leaves word for the next daemon.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn write_meta(pins: &Pins, value: Meta) -> Result<(), Error> {
    let mut meta: Array<_, MapValue<Meta>> = array(pins, maps::META)?;
    meta.set(0, MapValue(value), 0)
        .map_err(Error::map(maps::META))
}

pub(super) fn other_layout(pins: &Pins, found: u32) -> Error {
    Error::Layout {
        pins: pins.folder().to_owned(),
        found,
        expected: LAYOUT_VERSION,
    }
}

/// The sizes of the pinned maps.
pub(super) fn read_sizes(pins: &Pins) -> Result<Sizes, Error> {
    let entries = |region: Region| {
        let info = open(pins, region.name())?.info();
        let info = info.map_err(Error::map(region.name()))?;
        if info.value_size() as usize == region.element_bytes() {
            Ok(info.max_entries())
        } else {
            Err(other_layout(pins, 0))
        }
    };
    Ok(Sizes {
        sets: entries(Region::Directory)? / 2,
        elements: entries(Region::Slots)?,
        backends: entries(Region::Backends)?,
        interfaces: entries(Region::Interfaces)?,
        lists: entries(Region::Ranges)?,
        pools: entries(Region::Pools)?,
        paths: entries(Region::Paths)?,
        flows: flow_entries(pins)?,
        // Layouts before 5 had no such map.
        buckets: if pins.map(maps::TRACKED).exists() {
            entries(Region::Tracked)?
        } else {
            sizes::buckets(tracks_flows())
        },
    })
}

fn flow_entries(pins: &Pins) -> Result<u32, Error> {
    let info = open(pins, maps::FLOWS)?.info();
    let info = info.map_err(Error::map(maps::FLOWS))?;
    let sizes = (info.key_size() as usize, info.value_size() as usize);
    if sizes == (size_of::<FlowKey>(), size_of::<Flow>()) {
        Ok(info.max_entries())
    } else {
        Err(other_layout(pins, 0))
    }
}

/// The remembered flows.
///
/// # Errors
/// Where the map is missing.
pub(super) fn flows(pins: &Pins, sizes: &Sizes) -> Result<Flows, Error> {
    let map = into(maps::FLOWS, open(pins, maps::FLOWS)?)?;
    Ok(Flows::new(map, sizes.flows))
}

/// A memory-mapped map, whole.
pub(super) fn region(pins: &Pins, region: Region) -> Result<Mapped, Error> {
    let data = open(pins, region.name())?;
    let info = data.info().map_err(Error::map(region.name()))?;
    let bytes = info.max_entries() as usize * info.value_size() as usize;
    Mapped::new(data.fd(), bytes).map_err(|source| Error::System {
        what: "map a BPF map into memory",
        source,
    })
}

/// The kernel's number of a map.
pub(super) fn id(pins: &Pins, name: &'static str) -> Result<u32, Error> {
    let info = open(pins, name)?.info().map_err(Error::map(name))?;
    Ok(info.id())
}

/// Pins a map in another folder as well.
pub(super) fn share(pins: &Pins, next: &Pins, name: &'static str) -> Result<(), Error> {
    let path = next.map(name);
    let pinned = open(pins, name)?.pin(&path);
    pinned.map_err(|source| Error::Pin { path, source })
}

/// CPUs that per-CPU maps have a value for.
pub(super) fn cpus() -> Result<usize, Error> {
    aya::util::nr_cpus().map_err(|(_, source)| Error::System {
        what: "count the CPUs",
        source,
    })
}

pub(super) fn per_cpu<T: aya::Pod>(
    pins: &Pins,
    name: &'static str,
) -> Result<PerCpuArray<MapData, T>, Error> {
    into(name, open(pins, name)?)
}

pub(super) fn array<T: aya::Pod>(
    pins: &Pins,
    name: &'static str,
) -> Result<Array<MapData, T>, Error> {
    into(name, open(pins, name)?)
}

fn open(pins: &Pins, name: &'static str) -> Result<MapData, Error> {
    MapData::from_pin(pins.map(name)).map_err(Error::map(name))
}

fn into<T: TryFrom<Map, Error = MapError>>(name: &'static str, data: MapData) -> Result<T, Error> {
    Map::from_map_data(data)
        .and_then(T::try_from)
        .map_err(Error::map(name))
}

const _: () = assert!(size_of::<Set>() == Region::Directory.element_bytes());
