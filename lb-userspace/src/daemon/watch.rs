//! What the world tells the daemon: ends of probes, and changes of the network.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{engine::Engine, network::Host, paths, words};
use crate::{
    api::{Error, types::EventItem},
    config::model::Path,
    health::{Event, Health, outcome::Verdict},
    metrics::Events,
    net::Doubts,
};

/// Counts ends of probes where they happen, and has the kernel doubt the neighbours of those that fail.
pub(super) fn count(events: Arc<Mutex<Events>>, doubts: Doubts) -> impl Fn(&Event) {
    move |event| {
        let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
        events.probe(event);
        drop(events);
        if event.outcome.verdict() == Verdict::Failed {
            // A neighbour that changed its MAC address in silence fails its probes, too.
            doubts.reprobe(event.backend.ip());
        }
    }
}

impl Engine {
    /// Takes the ends of probes that changed anything; the data path follows at once where one changed a state.
    pub(super) fn probed(&mut self, events: &mut Vec<Event>) {
        let mut transitions = Vec::new();
        for event in events.drain(..) {
            if event.held.is_some() {
                self.report_held(&event);
            }
            if let Some(transition) = event.transition {
                let to = words::health(transition.to);
                self.events().transition(&event.service, event.backend, to);
            }
            let is_weighed = event.suppressed.is_some() || event.advised.is_some();
            if event.transition.is_some() || is_weighed {
                transitions.push(event);
            }
        }
        self.doubt_own_path();
        if transitions.is_empty() {
            return;
        }
        let began = Instant::now();
        for event in &transitions {
            self.follow_recovery(event);
        }
        let effective = Arc::clone(&self.effective);
        let settled = self.settle(&effective);
        let settled_at = Instant::now();
        let took_us = settled_at.duration_since(began).as_micros();
        let mut left = HashMap::new();
        for event in &transitions {
            let took = settled_at.duration_since(event.at);
            self.events().reaction(took);
            let left = left.entry(&event.service);
            self.report(
                event,
                *left.or_insert_with(|| self.backends_up(&event.service)),
            );
            self.report_damping(event);
            self.report_advice(event);
        }
        match settled {
            Ok(slots_moved) => info!(slots_moved, took_us, "slot tables follow the probes"),
            Err(error) => error!(%error, "the data path does not follow the probes"),
        }
    }

    /// Takes the end of a probe by way of a VIP; the data path follows where it is to.
    pub(super) fn path_probed(&mut self, event: &Event) {
        let mut services = self.effective.config.services.iter();
        let service = services.find(|service| *service.name == *event.service);
        let ejects = service.is_some_and(|service| paths::path(service) == Path::Eject);
        let backend = service.and_then(|service| {
            let mut backends = service.backends.iter();
            backends.find(|backend| backend.address == event.backend)
        });
        let Some((name, mode)) = backend.map(|backend| (backend.name.clone(), backend.mode)) else {
            return;
        };
        self.paths.take(event, mode, &self.host, &self.dataplane);
        let Some(transition) = event.transition else {
            return;
        };
        if ejects {
            let effective = Arc::clone(&self.effective);
            if let Err(error) = self.settle(&effective) {
                error!(%error, "the data path does not follow the probes of paths");
            }
        }
        let cause = self.paths.cause_of(&event.service, event.backend);
        let (service, outcome, to) = (&event.service, event.outcome, transition.to);
        let cause = cause.map_or_else(
            || outcome.to_string(),
            |cause| format!("{outcome}: {cause}"),
        );
        info!(%service, backend = name, %to, cause, "path to backend changed state");
        let left = self.backends_up(service);
        self.record_as(event, &name, &format!("path_{to}"), &cause, left);
    }

    /// Says once that failures are likelier this host's own, and once that they are not any more.
    pub(super) fn doubt_own_path(&mut self) {
        let down = self.own_links.down();
        let doubts = !down.is_empty() || self.reports.suspects_the_own_path();
        if doubts == self.doubts_own_path {
            return;
        }
        self.doubts_own_path = doubts;
        if doubts {
            let links = if down.is_empty() {
                "all are up, and most of what is probed is silent: look at gateway and switch"
                    .to_owned()
            } else {
                format!("down: {}", down.join(", "))
            };
            self.note_path("own_path_doubted", &links);
            warn!(
                %links,
                "backends are silent, and the fault is likelier this host's own: nobody is taken out for it"
            );
        } else {
            self.note_path("own_path_trusted", "probes are answered again");
            info!("probes are answered again: failures count");
        }
    }

    fn note_path(&self, what: &str, cause: &str) {
        self.chronicle.record(EventItem {
            what: what.to_owned(),
            cause: cause.to_owned(),
            ..EventItem::default()
        });
    }

    fn backend_name(&self, event: &Event) -> Option<&str> {
        self.name_of(&event.service, event.backend)
    }

    /// What a backend is called.
    pub(super) fn name_of(&self, service: &str, address: SocketAddr) -> Option<&str> {
        let mut services = self.effective.config.services.iter();
        let service = services.find(|candidate| candidate.name == service)?;
        let mut backends = service.backends.iter();
        let backend = backends.find(|backend| backend.address == address)?;
        Some(&backend.name)
    }

    /// Tells a transition, and how many backends are up of how many.
    fn report(&self, event: &Event, (up, total): (usize, usize)) {
        let (Some(name), Some(transition)) = (self.backend_name(event), event.transition) else {
            return;
        };
        let Event {
            service,
            outcome,
            latency,
            ..
        } = event;
        let (from, to) = (transition.from, transition.to);
        let probe_us = latency.as_micros();
        info!(%service, backend = name, %from, %to, %outcome, probe_us, up, total, "backend changed state");
        if up == 0 {
            warn!(%service, "service has no backend that answers");
        }
        self.record(event, name, &to.to_string(), (up, total));
    }

    /// Says once that a backend stays in although its probes fail.
    fn report_held(&self, event: &Event) {
        let (Some(name), Some(held)) = (self.backend_name(event), event.held) else {
            return;
        };
        let (service, outcome) = (&event.service, event.outcome);
        info!(%service, backend = name, %held, %outcome, "backend fails and stays in");
        let left = self.backends_up(service);
        self.record(event, name, &format!("held ({held})"), left);
    }

    /// Takes down what became of a backend, with what decided it and what is left.
    fn record(&self, event: &Event, name: &str, what: &str, (up, total): (usize, usize)) {
        let report = self.reports.of(&event.service, event.backend);
        let probe = report.as_ref().and_then(words::last_probe);
        let cause = probe.unwrap_or_else(|| event.outcome.to_string());
        self.record_as(event, name, what, &cause, (up, total));
    }

    fn record_as(
        &self,
        event: &Event,
        name: &str,
        what: &str,
        cause: &str,
        (up, total): (usize, usize),
    ) {
        let count = |count: usize| u32::try_from(count).ok();
        self.chronicle.record(EventItem {
            what: what.to_owned(),
            service: Some(event.service.to_string()),
            backend: Some(name.to_owned()),
            cause: cause.to_owned(),
            lasted_ms: u64::try_from(event.lasted.as_millis()).ok(),
            up: count(up),
            total: count(total),
            ..EventItem::default()
        });
    }

    /// Backends of a service that probes reach, and all of them.
    fn backends_up(&self, service: &str) -> (usize, usize) {
        let mut services = self.effective.config.services.iter();
        let Some(service) = services.find(|candidate| candidate.name == service) else {
            return (0, 0);
        };
        let probed = self.reports.health(&service.name);
        let up = service.backends.iter().filter(|backend| {
            let health = probed.of(backend.address);
            health.is_some_and(|health| {
                self.paths.judge(service, backend.address, health) == Health::Up
            })
        });
        (up.count(), service.backends.len())
    }

    /// Takes a change of the host's network.
    pub(super) fn network_changed(&mut self) -> Result<(), Error> {
        let direct = &self.config.direct;
        self.host = Host::try_new(self.follower.view(), direct).map_err(anyhow::Error::new)?;
        let effective = Arc::clone(&self.effective);
        // Before probes fail for it.
        self.look_at_own_links();
        self.doubt_own_path();
        self.settle(&effective)?;
        self.keep_neighbours();
        Ok(())
    }
}
