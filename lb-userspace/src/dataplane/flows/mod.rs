//! Remembered flows, as the daemon looks after them: what is over is taken out, and what names a
//! backend's entry is led to where that is.

mod idle;
mod renewal;
mod sweep;

use std::{collections::HashMap, fmt};

use aya::maps::{HashMap as BpfHashMap, MapData, MapError};
use lb_common::{
    flow::{Flow, FlowKey, Side},
    maps::FLOWS,
    wire::Ports,
};

pub(super) use self::renewal::Sweeping;
pub use self::sweep::{Sweeper, Usage};
use super::{error::Error, memory::MapValue};
use crate::desired::{FlowOwners, Standing};

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}

/// The map `FLOWS`.
pub(super) struct Flows {
    map: BpfHashMap<MapData, MapValue<FlowKey>, MapValue<Flow>>,
    /// Entries that may come up while the map is walked through once: where one goes whose key was the
    /// last, the kernel begins anew.
    most: usize,
}

impl Flows {
    /// The map, opened.
    pub(super) const fn new(
        map: BpfHashMap<MapData, MapValue<FlowKey>, MapValue<Flow>>,
        capacity: u32,
    ) -> Self {
        Self {
            map,
            most: capacity as usize * 2,
        }
    }

    /// The entries, of which some may come twice and those that change meanwhile not at all.
    fn entries(&self) -> impl Iterator<Item = Result<(FlowKey, Flow), MapError>> {
        let entry = |(MapValue(key), MapValue(flow))| (key, flow);
        let entries = self.map.iter().take(self.most);
        entries.map(move |found| found.map(entry))
    }

    /// One entry, as the data path would claim it.
    #[cfg(test)]
    pub(super) fn insert(&mut self, key: &FlowKey, flow: &Flow) -> Result<(), MapError> {
        self.map.insert(MapValue(*key), MapValue(*flow), 0)
    }

    pub(super) fn entry(&self, key: &FlowKey) -> Result<Option<Flow>, MapError> {
        match self.map.get(&MapValue(*key), 0) {
            Ok(MapValue(flow)) => Ok(Some(flow)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The data path may have been faster.
    fn remove(&mut self, key: &FlowKey) -> Result<(), MapError> {
        match self.map.remove(&MapValue(*key)) {
            Err(error) if !is_missing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Leads flows to the entries of their backends, and forgets those whose backend is gone. Nothing
    /// may have used freed entries again meanwhile.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) fn lead(&mut self, owners: &FlowOwners) -> Result<(), Error> {
        self.try_lead(owners).map_err(Error::map(FLOWS))
    }

    fn try_lead(&mut self, owners: &FlowOwners) -> Result<(), MapError> {
        const BPF_EXIST: u64 = 2;
        let mut astray = HashMap::new();
        for found in self.entries() {
            let (key, flow) = found?;
            match owners.judge(&key, &flow) {
                Standing::Right => {}
                Standing::Moved(pair) => drop(astray.insert(key, Some(Flow { pair, ..flow }))),
                Standing::Gone => drop(astray.insert(key, None)),
            }
        }
        for (key, led) in astray {
            let Some(flow) = led else {
                self.remove(&key)?;
                continue;
            };
            match self.map.insert(MapValue(key), MapValue(flow), BPF_EXIST) {
                Err(error) if !is_missing(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The key of the other direction of a flow of full NAT.
const fn other_side(key: &FlowKey, flow: &Flow) -> FlowKey {
    let side = if key.is_of(Side::Client) {
        Side::Backend
    } else {
        Side::Client
    };
    let Ports {
        source,
        destination,
    } = flow.ports();
    let reversed = Ports {
        source: destination,
        destination: source,
    };
    FlowKey::new(
        side,
        flow.destination,
        flow.source,
        reversed,
        key.protocol(),
    )
}

fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}
