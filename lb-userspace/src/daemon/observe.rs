//! What there is to see: configuration, probes and maps in one picture.

use std::collections::HashMap;

use lb_common::verdict::TrackEvent;

use super::{
    engine::{Engine, next_second},
    words,
};
use crate::{
    api::{
        Error,
        types::{
            Admin, BackendItem, ConfigItem, Health, InterfaceItem, MapItem, Observation,
            PlacesItem, ReasonItem, Schema, ServiceItem, Status, TrackingItem,
        },
    },
    config::model::{Backend, Mode, Service},
    dataplane::{Attachment, Counters, ServiceCounters},
    desired::InstalledService,
    health::Report,
    net::inspect::Severity,
};

impl Engine {
    /// Reads everything there is to see.
    pub(super) fn observe(&self) -> Result<Observation, Error> {
        let counters = self.dataplane.counters()?;
        let mut services = Vec::new();
        let mut backends = Vec::new();
        let none = ServiceCounters::default();
        for service in &self.effective.config.services {
            let counted = counters.services.get(&service.vip).unwrap_or(&none);
            let items = self.backend_items(service, counted);
            services.push(self.service_item(service, &items, counted));
            backends.extend(items);
        }
        Ok(Observation {
            status: self.status(services, &counters)?,
            backends,
        })
    }

    fn status(&self, services: Vec<ServiceItem>, counters: &Counters) -> Result<Status, Error> {
        Ok(Status {
            schema: Schema::V1,
            kind: "Status".to_owned(),
            instance: self.options.instance.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            revision: self.saved.revision,
            generation: self.generation,
            uptime_seconds: self.started.elapsed().as_secs(),
            adopted: self.adopted,
            metrics: self.metrics,
            config: self.config_item(),
            interfaces: self.interface_items()?,
            services,
            tracking: self.tracking_item(counters),
            announcement: self.announcement_item(),
            peers: self.peering.item(),
            notify: self.chronicle.receivers().items(),
            maps: self.map_items(),
            answers: reasons(&counters.answered, |reason| reason.label()),
            drops: reasons(&counters.dropped, |reason| reason.label()),
            passes: reasons(&counters.passed, |reason| reason.label()),
        })
    }

    fn tracking_item(&self, counters: &Counters) -> TrackingItem {
        let total = |wanted: TrackEvent| {
            let mut events = counters.tracked.iter();
            let found = events.find(|(event, _)| *event == wanted);
            found.map_or(0, |(_, count)| *count)
        };
        TrackingItem {
            supported: self.dataplane.tracks(),
            flows: self.dataplane.tracked_flows(),
            tracked_total: total(TrackEvent::Tracked),
            refused_total: total(TrackEvent::Refused),
        }
    }

    fn config_item(&self) -> ConfigItem {
        let source = self.source.clone();
        ConfigItem {
            path: source.path,
            digest: source.digest,
            applied_at: source.applied_at,
            notes: source.notes,
            last_reload_successful: source.last_reload_successful,
        }
    }

    fn interface_items(&self) -> Result<Vec<InterfaceItem>, Error> {
        let mut attached = self.dataplane.interfaces()?;
        attached.retain(|attachment| !self.paths.is_link(&attachment.name));
        let item = |attachment: Attachment| {
            let findings = self.findings.iter();
            let own = findings.filter(|finding| {
                finding.interface == attachment.name && finding.severity > Severity::Note
            });
            InterfaceItem {
                warnings: own.map(ToString::to_string).collect(),
                name: attachment.name,
                mode: attachment.mode.word().to_owned(),
                program_id: attachment.program_id,
            }
        };
        Ok(attached.into_iter().map(item).collect())
    }

    fn map_items(&self) -> Vec<MapItem> {
        let maps = self.dataplane.maps();
        maps.iter()
            .map(|map| MapItem {
                name: map.name.to_owned(),
                entries: map.entries,
                bytes: map.bytes,
            })
            .collect()
    }

    /// The backends of a service.
    pub(super) fn backend_items(
        &self,
        service: &Service,
        counted: &ServiceCounters,
    ) -> Vec<BackendItem> {
        let installed = self.dataplane.installed().service(service.vip);
        let pairs = installed.map(InstalledService::pairs).unwrap_or_default();
        let shares = installed.map(InstalledService::shares).unwrap_or_default();
        let parts = installed.map(InstalledService::parts).unwrap_or_default();
        let leaving = installed
            .map(InstalledService::leaving_shares)
            .unwrap_or_default();
        let flows = installed.map(|it| self.dataplane.flows_left(it));
        let flows = flows.unwrap_or_default();
        let now = next_second();
        let events = self.events();
        let last_tier = self.last_tier(service);
        let item = |backend: &Backend| {
            let pairs = pairs.get(&backend.address).map_or(&[][..], Vec::as_slice);
            let traffic = counted.backends.get(&backend.address);
            let traffic = traffic.copied().unwrap_or_default();
            let count = |of: &HashMap<u32, u32>| pairs.iter().filter_map(|pair| of.get(pair)).sum();
            let slots: u32 = count(&shares);
            let address = backend.address;
            let report = self.reports.of(&service.name, address);
            let by_hand = self.saved.overrides.of(&service.name, address);
            BackendItem {
                service: service.name.clone(),
                name: backend.name.clone(),
                address: service.vip.backend(backend.address),
                mode: backend.mode.word().to_owned(),
                weight: backend.weight,
                tier: backend.tier,
                standby: backend.tier > last_tier,
                recovery: self.recovery_item(&service.name, address, parts.get(&address)),
                state: state(service, report.as_ref()),
                held: report.as_ref().and_then(|report| report.held),
                admin: words::admin(self.effective.admin(&service.name, backend.address)),
                packets: traffic.packets,
                bytes: traffic.bytes,
                return_packets: traffic.return_packets,
                return_bytes: traffic.return_bytes,
                slots,
                leaving_slots: count(&leaving),
                flows_left: pairs.iter().filter_map(|pair| flows.get(pair)).sum(),
                share: f64::from(slots) / f64::from(service.slots().max(1)),
                places: self.places(service, backend, pairs),
                last_probe: report.as_ref().and_then(words::last_probe),
                path: self.paths.item(service, backend.address),
                passive: self.passive_item(service, backend.address, pairs.first().copied()),
                events: events.of(&service.name, backend.address),
                overridden: by_hand.map(|by_hand| words::overridden(by_hand, now)),
            }
        };
        service.backends.iter().map(item).collect()
    }

    /// The highest tier of a service whose backends take flows.
    pub(super) fn last_tier(&self, service: &Service) -> u8 {
        let highest = || service.backends.iter().map(|backend| backend.tier).max();
        let in_use = self.tiers.get(&service.vip).copied();
        in_use.or_else(highest).unwrap_or(0)
    }

    /// Places of a backend's pool, and those that its flows have.
    fn places(&self, service: &Service, backend: &Backend, pairs: &[u32]) -> Option<PlacesItem> {
        let pair = *pairs.first().filter(|_| backend.mode == Mode::FullNat)?;
        let installed = self.dataplane.installed();
        let mut backends = installed.service(service.vip)?.backends();
        let (_, entry) = backends.find(|(other, _)| *other == pair)?;
        Some(PlacesItem {
            total: installed.places(entry)?,
            used: self.dataplane.usage().places(pair),
        })
    }

    fn service_item(
        &self,
        service: &Service,
        backends: &[BackendItem],
        counted: &ServiceCounters,
    ) -> ServiceItem {
        let installed = self.dataplane.installed().service(service.vip);
        let takes_flows = |backend: &&BackendItem| {
            let part = backend.weight.min(backend.recovery.weight_percent.into());
            let path = backend.path.as_ref();
            let is_cut_off = path.is_some_and(|path| path.ejects && path.state != Health::Up);
            backend.state == Health::Up && !is_cut_off && backend.admin == Admin::Ready && part > 0
        };
        let checksum = installed.and_then(InstalledService::checksum);
        let total = counted.total();
        ServiceItem {
            name: service.name.clone(),
            vip: service.vip.to_string(),
            mode: service.mode.word().to_owned(),
            scheduler: "maglev".to_owned(),
            up: backends.iter().any(|backend| backend.slots > 0),
            backends_up: count(backends.iter().filter(takes_flows)),
            backends_total: count(backends.iter()),
            tier: self.last_tier(service),
            slots: service.slots(),
            rehashed_flows: self.dataplane.rehashed_flows(service.vip),
            moving_slots: installed.map_or(0, InstalledService::moving_rows),
            table_checksum: checksum.map_or_else(String::new, |sum| format!("{sum:016x}")),
            packets: total.packets,
            bytes: total.bytes,
            dropped_packets: counted.dropped.packets,
        }
    }
}

/// What is known of a service's backend.
const fn state(service: &Service, report: Option<&Report>) -> Health {
    match report {
        Some(report) => words::health(report.health),
        None if service.probe.is_none() => Health::Up,
        None => Health::Unknown,
    }
}

fn reasons<R>(counters: &[(R, u64)], label: impl Fn(&R) -> &'static str) -> Vec<ReasonItem> {
    let item = |(reason, packets): &(R, u64)| ReasonItem {
        reason: label(reason).to_owned(),
        packets: *packets,
    };
    counters.iter().map(item).collect()
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
