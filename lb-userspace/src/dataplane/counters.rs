//! Counters as the data path has them, summed over the CPUs.

use std::{collections::BTreeMap, net::SocketAddr};

use aya::maps::MapError;
use lb_common::{
    AnswerReason, DropReason, PassReason,
    counters::Traffic,
    maps::{REASONS, STATS},
    verdict::TrackEvent,
};

use super::{error::Error, maps::Maps};
use crate::{
    config::model::Vip,
    desired::{Installed, InstalledService},
};

/// All counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Traffic by service.
    pub services: BTreeMap<Vip, ServiceCounters>,
    /// Packets left to the kernel, every reason.
    pub passed: Vec<(PassReason, u64)>,
    /// Packets that the data path answered itself, every reason.
    pub answered: Vec<(AnswerReason, u64)>,
    /// Packets thrown away, every reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// What became of flows to be tracked.
    pub tracked: Vec<(TrackEvent, u64)>,
}

/// Traffic of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceCounters {
    /// Packets for it that went to no backend.
    pub dropped: Traffic,
    /// Traffic by backend.
    pub backends: BTreeMap<SocketAddr, Traffic>,
}

impl ServiceCounters {
    /// Traffic of all backends.
    #[must_use]
    pub fn total(&self) -> Traffic {
        sum(self.backends.values().copied())
    }
}

/// Reads every counter.
///
/// # Errors
/// Where the kernel refuses.
pub(super) fn read(maps: &Maps, installed: &Installed) -> Result<Counters, Error> {
    let mut services = BTreeMap::new();
    for vip in installed.vips() {
        if let Some(service) = installed.service(vip) {
            let counters = read_service(maps, service).map_err(Error::map(STATS))?;
            services.insert(vip, counters);
        }
    }
    let packets = |reason: u32| read_reason(maps, reason).map_err(Error::map(REASONS));
    let passed = PassReason::ALL
        .iter()
        .map(|reason| Ok((*reason, packets(reason.index())?)));
    let answered = AnswerReason::ALL
        .iter()
        .map(|reason| Ok((*reason, packets(reason.index())?)));
    let dropped = DropReason::ALL
        .iter()
        .map(|reason| Ok((*reason, packets(reason.index())?)));
    let tracked = TrackEvent::ALL
        .iter()
        .map(|it| Ok((*it, event(maps, *it)?)));
    Ok(Counters {
        services,
        passed: passed.collect::<Result<_, Error>>()?,
        answered: answered.collect::<Result<_, Error>>()?,
        dropped: dropped.collect::<Result<_, Error>>()?,
        tracked: tracked.collect::<Result<_, Error>>()?,
    })
}

/// How often something became of a flow to be tracked.
pub(super) fn event(maps: &Maps, event: TrackEvent) -> Result<u64, Error> {
    read_reason(maps, event.index()).map_err(Error::map(REASONS))
}

fn read_service(maps: &Maps, service: &InstalledService) -> Result<ServiceCounters, MapError> {
    // An entry that takes another one's place goes on from its counters.
    let pairs = service.pairs();
    let first = pairs
        .iter()
        .filter_map(|(address, pairs)| Some((*address, *pairs.first()?)));
    let backends = first.map(|(address, pair)| Ok((address, read_pair(maps, pair)?)));
    Ok(ServiceCounters {
        dropped: read_pair(maps, service.pair())?,
        backends: backends.collect::<Result<_, MapError>>()?,
    })
}

fn read_pair(maps: &Maps, pair: u32) -> Result<Traffic, MapError> {
    maps.counted.traffic(pair)
}

/// Whether packets ever went to a pair; where the kernel does not tell, they may have.
pub(super) fn has_traffic(maps: &Maps, pair: u32) -> bool {
    read_pair(maps, pair).map_or(true, |traffic| traffic.packets > 0)
}

fn read_reason(maps: &Maps, reason: u32) -> Result<u64, MapError> {
    let values = maps.reasons.get(&reason, 0)?;
    Ok(values
        .iter()
        .fold(0, |sum, packets| sum.wrapping_add(*packets)))
}

fn sum(parts: impl Iterator<Item = Traffic>) -> Traffic {
    let mut total = Traffic::default();
    parts.for_each(|part| total += part);
    total
}
