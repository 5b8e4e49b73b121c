//! One backend and its last probes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::{by_hand, engine::Engine};
use crate::{
    api::{
        Code, Error, resolve,
        types::{BackendDetail, ProbeItem},
    },
    dataplane::ServiceCounters,
    health::Last,
};

impl Engine {
    /// All there is to see of a backend of a service, both as operators call them.
    pub(super) fn show(&self, [service, backend]: &[String; 2]) -> Result<BackendDetail, Error> {
        let lost = || Error::new(Code::Failed, "a backend was lost");
        let services = &self.effective.config.services;
        let names: Vec<&str> = services.iter().map(|it| it.name.as_str()).collect();
        let place = resolve::service(service, &names)?;
        let service = services.get(place).ok_or_else(lost)?;
        let backend = by_hand::find(&service.name, backend, service.vip, service.backends.iter())?;
        let counters = self.dataplane.counters()?;
        let none = ServiceCounters::default();
        let counted = counters.services.get(&service.vip).unwrap_or(&none);
        let mut items = self.backend_items(service, counted).into_iter();
        let item = items.find(|item| item.name == backend.name);
        let report = self.reports.of(&service.name, backend.address);
        let probes = self.reports.probes(&service.name, backend.address);
        let now = (Instant::now(), SystemTime::now());
        Ok(BackendDetail {
            backend: item.ok_or_else(lost)?,
            state_ms: report.map(|report| millis(now.0.duration_since(report.since))),
            last_probes: probes.iter().map(|probe| item_of(probe, now)).collect(),
        })
    }
}

/// A probe, where both clocks say so.
fn item_of(probe: &Last, (now, today): (Instant, SystemTime)) -> ProbeItem {
    let ago = now.duration_since(probe.at);
    let at = today.checked_sub(ago).unwrap_or(UNIX_EPOCH);
    let (word, text) = (probe.outcome.name(), probe.outcome.to_string());
    ProbeItem {
        at_ms: millis(at.duration_since(UNIX_EPOCH).unwrap_or_default()),
        ago_ms: millis(ago),
        outcome: word.to_owned(),
        detail: (text != word).then_some(text),
        latency_us: u64::try_from(probe.latency.as_micros()).unwrap_or(u64::MAX),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
