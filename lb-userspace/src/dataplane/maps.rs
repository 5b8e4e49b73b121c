//! The pinned maps, opened: memory-mapped regions, counters, and what the next daemon must know.

use std::{collections::BTreeMap, fmt};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use lb_common::{
    counters::Traffic,
    directory::Set,
    flow::{Flow, FlowKey},
    maps::{self, LAYOUT_VERSION, Meta},
};

use super::{
    error::Error,
    flows::Flows,
    memory::{self, MapValue, Mapped},
    pins::Pins,
    sizes::Sizes,
};
use crate::desired::{Region, Store, StoreError};

/// The maps of an instance.
pub(super) struct Maps {
    regions: BTreeMap<Region, Mapped>,
    pub(super) traffic: PerCpuArray<MapData, MapValue<Traffic>>,
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
            regions.insert(region, map_region(pins, region, &sizes)?);
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| Error::System {
            what: "count the CPUs",
            source,
        })?;
        Ok(Self {
            regions,
            traffic: per_cpu(pins, maps::STATS)?,
            reasons: per_cpu(pins, maps::REASONS)?,
            sizes,
            cpus,
        })
    }

    /// Their sizes.
    #[must_use]
    pub(super) const fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Takes note that the map of flows is another one, with so many entries.
    pub(super) const fn remember(&mut self, flows: u32) {
        self.sizes.flows = flows;
    }

    /// CPUs that per-CPU maps have a value for.
    #[must_use]
    pub(super) const fn cpus(&self) -> usize {
        self.cpus
    }

    fn region(&mut self, region: Region, offset: usize) -> Result<&mut Mapped, StoreError> {
        self.regions
            .get_mut(&region)
            .ok_or_else(|| outside(region, offset))
    }

    fn traffic_of(&self, pair: u32) -> Result<PerCpuValues<MapValue<Traffic>>, MapError> {
        self.traffic.get(&pair, 0)
    }

    fn copy_traffic(&mut self, pair: u32, from: Option<u32>) -> Result<(), MapError> {
        let values = match from {
            Some(other) => self.traffic_of(other)?,
            None => self.zeros()?,
        };
        self.traffic.set(pair, values, 0)
    }

    fn zeros(&self) -> Result<PerCpuValues<MapValue<Traffic>>, MapError> {
        let zeros = vec![MapValue(Traffic::default()); self.cpus];
        PerCpuValues::try_from(zeros).map_err(MapError::IoError)
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
        self.copy_traffic(pair, inherit)
            .map_err(|error| StoreError::Kernel {
                what: "write counters",
                source: std::io::Error::other(error),
            })
    }
}

const fn outside(region: Region, offset: usize) -> StoreError {
    let map = region.name();
    StoreError::Outside { map, offset }
}

/// What the daemon before left for the next one; `None` where there is nothing, or it did not come
/// to its end.
///
/// # Errors
/// Where it cannot be read, or is of another version.
pub(super) fn read_meta(pins: &Pins) -> Result<Option<Meta>, Error> {
    if !pins.map(maps::META).exists() {
        return Ok(None);
    }
    let data = open(pins, maps::META)?;
    let info = data.info().map_err(Error::map(maps::META))?;
    let expected = size_of::<Meta>();
    if info.value_size() as usize != expected {
        return Err(other_layout(pins, 0));
    }
    let meta: Array<_, MapValue<Meta>> = into(maps::META, data)?;
    let MapValue(meta) = meta.get(&0, 0).map_err(Error::map(maps::META))?;
    match meta.layout_version {
        0 => Ok(None),
        LAYOUT_VERSION => Ok(Some(meta)),
        found => Err(other_layout(pins, found)),
    }
}

/// Leaves word for the next daemon.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn write_meta(pins: &Pins, value: Meta) -> Result<(), Error> {
    let data = open(pins, maps::META)?;
    let mut meta: Array<_, MapValue<Meta>> = into(maps::META, data)?;
    meta.set(0, MapValue(value), 0)
        .map_err(Error::map(maps::META))
}

fn other_layout(pins: &Pins, found: u32) -> Error {
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
        buckets: entries(Region::Tracked)?,
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

fn map_region(pins: &Pins, region: Region, sizes: &Sizes) -> Result<Mapped, Error> {
    let data = open(pins, region.name())?;
    let bytes = region.offset(sizes.entries(region));
    Mapped::new(data.fd(), bytes).map_err(|source| Error::System {
        what: "map a BPF map into memory",
        source,
    })
}

fn per_cpu<T: aya::Pod>(pins: &Pins, name: &'static str) -> Result<PerCpuArray<MapData, T>, Error> {
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
