//! What the world tells the daemon: ends of probes, and changes of the network.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{engine::Engine, network::Host, words};
use crate::{
    api::Error,
    health::{Event, Health, outcome::Verdict},
};

impl Engine {
    /// Takes the ends of probes; the data path follows at once where one changed a state.
    pub(super) fn probed(&mut self, events: &mut Vec<Event>) {
        let mut transitions = Vec::new();
        for event in events.drain(..) {
            if self.count(&event) {
                transitions.push(event);
            }
        }
        if transitions.is_empty() {
            return;
        }
        let began = Instant::now();
        let effective = Arc::clone(&self.effective);
        let settled = self.settle(&effective);
        let took_us = began.elapsed().as_micros();
        for event in &transitions {
            self.report(event);
        }
        match settled {
            Ok(slots_moved) => info!(slots_moved, took_us, "slot tables follow the probes"),
            Err(error) => error!(%error, "the data path does not follow the probes"),
        }
    }

    /// Counts the end of a probe; whether it changed a state.
    fn count(&self, event: &Event) -> bool {
        let mut events = self.events();
        events.probe(&event.service, event.backend, event.outcome, event.latency);
        if event.outcome.verdict() == Verdict::Failed {
            // A neighbour that changed its MAC address in silence fails its probes, too.
            self.follower.reprobe(event.backend.ip());
        }
        let Some(transition) = event.transition else {
            return false;
        };
        let to = words::health(transition.to);
        events.transition(&event.service, event.backend, to);
        true
    }

    fn backend_name(&self, event: &Event) -> Option<&str> {
        let mut services = self.effective.config.services.iter();
        let service = services.find(|service| service.name == event.service)?;
        let mut backends = service.backends.iter();
        let backend = backends.find(|backend| backend.address == event.backend)?;
        Some(&backend.name)
    }

    fn report(&self, event: &Event) {
        let (Some(name), Some(transition)) = (self.backend_name(event), event.transition) else {
            return;
        };
        let Event {
            service,
            outcome,
            latency,
            ..
        } = event;
        let (up, total) = self.backends_up(service);
        let (from, to) = (transition.from, transition.to);
        let probe_us = latency.as_micros();
        info!(%service, backend = name, %from, %to, %outcome, probe_us, up, total, "backend changed state");
        if up == 0 {
            warn!(%service, "service has no backend: its packets are dropped");
        }
    }

    /// Backends of a service that probes reach, and all of them.
    fn backends_up(&self, service: &str) -> (usize, usize) {
        let mut services = self.effective.config.services.iter();
        let Some(service) = services.find(|candidate| candidate.name == service) else {
            return (0, 0);
        };
        let up = service.backends.iter().filter(|backend| {
            let report = self.reports.of(&service.name, backend.address);
            report.is_some_and(|report| report.health == Health::Up)
        });
        (up.count(), service.backends.len())
    }

    /// Takes a change of the host's network.
    pub(super) fn network_changed(&mut self) -> Result<(), Error> {
        let direct = &self.config.direct;
        self.host = Host::try_new(self.follower.view(), direct).map_err(anyhow::Error::new)?;
        let effective = Arc::clone(&self.effective);
        self.settle(&effective)?;
        self.keep_neighbours();
        Ok(())
    }
}
