//! Traffic of pairs: what the data path counts, and what it had counted in smaller maps before.

use std::{fmt, io};

use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuValues};
use lb_common::{
    counters::Traffic,
    maps::{CARRIED, STATS},
};

use super::{
    error::Error,
    maps::{self, array, per_cpu},
    memory::MapValue,
    pins::Pins,
};

/// The maps `STATS` and `CARRIED`.
pub(super) struct Counted {
    stats: PerCpuArray<MapData, MapValue<Traffic>>,
    /// Pins that an earlier version made may have none.
    carried: Option<Array<MapData, MapValue<Traffic>>>,
    cpus: usize,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl Counted {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// Where the one that the data path writes is missing.
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let carried = pins.map(CARRIED).exists();
        Ok(Self {
            stats: per_cpu(pins, STATS)?,
            carried: carried.then(|| array(pins, CARRIED)).transpose()?,
            cpus: maps::cpus()?,
        })
    }

    /// Pairs that have a place.
    pub(super) fn pairs(&self) -> u32 {
        self.stats.len()
    }

    /// All traffic of a pair.
    ///
    /// # Errors
    /// Where the kernel refuses, as for a pair without a place.
    pub(super) fn traffic(&self, pair: u32) -> Result<Traffic, MapError> {
        let mut total = self.carried(pair)?;
        for MapValue(traffic) in self.stats.get(&pair, 0)?.iter() {
            total += *traffic;
        }
        Ok(total)
    }

    fn carried(&self, pair: u32) -> Result<Traffic, MapError> {
        let Some(carried) = &self.carried else {
            return Ok(Traffic::default());
        };
        carried.get(&pair, 0).map(|MapValue(traffic)| traffic)
    }

    /// Says what was counted of a pair before.
    ///
    /// # Errors
    /// Where the kernel refuses, or there is no map for it.
    pub(super) fn carry(&mut self, pair: u32, traffic: Traffic) -> Result<(), MapError> {
        let none = || MapError::IoError(io::ErrorKind::NotFound.into());
        let carried = self.carried.as_mut().ok_or_else(none)?;
        carried.set(pair, MapValue(traffic), 0)
    }

    /// Sets a pair's traffic to that of another pair, or to zero. The data path does not count it.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) fn reset(&mut self, pair: u32, inherit: Option<u32>) -> Result<(), MapError> {
        let values = match inherit {
            Some(other) => self.stats.get(&other, 0)?,
            None => self.zeros()?,
        };
        let before = inherit.map(|other| self.carried(other)).transpose()?;
        self.stats.set(pair, values, 0)?;
        match self.carried {
            Some(_) => self.carry(pair, before.unwrap_or_default()),
            None => Ok(()),
        }
    }

    /// Counts traffic as the first CPU would, in the place of what it counted before.
    #[cfg(test)]
    pub(super) fn count(&mut self, pair: u32, traffic: Traffic) -> Result<(), MapError> {
        let mut values = vec![MapValue(Traffic::default()); self.cpus];
        if let Some(first) = values.first_mut() {
            *first = MapValue(traffic);
        }
        let values = PerCpuValues::try_from(values).map_err(MapError::IoError)?;
        self.stats.set(pair, values, 0)
    }

    fn zeros(&self) -> Result<PerCpuValues<MapValue<Traffic>>, MapError> {
        let zeros = vec![MapValue(Traffic::default()); self.cpus];
        PerCpuValues::try_from(zeros).map_err(MapError::IoError)
    }
}
