//! What the daemon counts itself: probes, transitions, reloads.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, proto::MetricFamily,
};

use crate::{
    api::types::{BackendEvents, Health, ProbeCounts},
    health::{Event, Outcome},
};

/// Counters of the daemon's own deeds.
///
/// Those of backends are plain numbers: a labelled counter of the registry costs a kilobyte.
#[derive(Debug)]
pub struct Events {
    registry: Registry,
    probe_duration: HistogramVec,
    lateness: Histogram,
    reaction: Histogram,
    reloads: IntCounterVec,
    services: HashMap<String, ServiceEvents>,
}

/// What is counted of a service.
#[derive(Debug)]
struct ServiceEvents {
    /// Its member of `probe_duration`: to look for it by its label costs more than to count.
    probe_duration: Histogram,
    backends: HashMap<SocketAddr, BackendEvents>,
}

/// Upper bounds of the probe histogram in seconds: from a neighbour to the longest timeout.
const PROBE_BUCKETS: [f64; 12] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
];

/// Of the histogram of late probes: timers are as exact as a millisecond.
const LATE_BUCKETS: [f64; 8] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0];

/// Of the histogram of reactions.
const REACTION_BUCKETS: [f64; 8] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 1.0];

const RELOAD_OK: &str = "ok";
const RELOAD_FAILED: &str = "failed";

impl Events {
    /// Counters at zero.
    ///
    /// # Errors
    /// Where two of them have one name: a fault of xlb.
    pub fn try_new() -> prometheus::Result<Self> {
        let reloads = IntCounterVec::new(
            Opts::new(
                "xlb_config_reloads_total",
                "Configurations that were read after the start.",
            ),
            &["result"],
        )?;
        for result in [RELOAD_OK, RELOAD_FAILED] {
            reloads.with_label_values(&[result]);
        }
        let probe_duration = HistogramVec::new(
            HistogramOpts::new("xlb_probe_duration_seconds", "How long probes took.")
                .buckets(PROBE_BUCKETS.to_vec()),
            &["service"],
        )?;
        let histogram = |name, help, buckets: &[f64]| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))
        };
        let lateness = histogram(
            "xlb_probe_lateness_seconds",
            "How much later than they were due probes began.",
            &LATE_BUCKETS,
        )?;
        let reaction = histogram(
            "xlb_health_reaction_seconds",
            "From the end of the probe that decides to the changed data path.",
            &REACTION_BUCKETS,
        )?;
        let registry = Registry::new();
        registry.register(Box::new(lateness.clone()))?;
        registry.register(Box::new(reaction.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(probe_duration.clone()))?;
        Ok(Self {
            registry,
            probe_duration,
            lateness,
            reaction,
            reloads,
            services: HashMap::new(),
        })
    }

    /// Starts at zero what is new among the backends of these services, and forgets what is gone.
    pub fn follow<S: AsRef<str>>(
        &mut self,
        services: impl IntoIterator<Item = (S, HashSet<SocketAddr>)>,
    ) {
        let mut before = std::mem::take(&mut self.services);
        for (name, addresses) in services {
            let name = name.as_ref();
            let mut service = before.remove(name).unwrap_or_else(|| ServiceEvents {
                probe_duration: self.probe_duration.with_label_values(&[name]),
                backends: HashMap::new(),
            });
            let backends = &mut service.backends;
            backends.retain(|address, _| addresses.contains(address));
            for address in addresses {
                backends.entry(address).or_default();
            }
            self.services.insert(name.to_owned(), service);
        }
        for service in before.keys() {
            // An error says that it is gone already.
            drop(self.probe_duration.remove_label_values(&[service]));
        }
    }

    /// What was counted of a backend.
    #[must_use]
    pub fn of(&self, service: &str, backend: SocketAddr) -> BackendEvents {
        let service = self.services.get(service);
        let events = service.and_then(|service| service.backends.get(&backend));
        events.copied().unwrap_or_default()
    }

    /// Counts a probe.
    pub fn probe(&mut self, event: &Event) {
        let Some(service) = self.services.get_mut(&*event.service) else {
            return;
        };
        let Some(events) = service.backends.get_mut(&event.backend) else {
            return;
        };
        *events.probes.counter(event.outcome) += 1;
        let latency = event.latency.as_secs_f64();
        service.probe_duration.observe(latency);
        self.lateness.observe(event.late.as_secs_f64());
    }

    /// Counts a change of mind that the data path followed, so long after the probe's end.
    pub fn reaction(&self, took: Duration) {
        self.reaction.observe(took.as_secs_f64());
    }

    /// Counts a change of mind about a backend.
    pub fn transition(&mut self, service: &str, backend: SocketAddr, to: Health) {
        let Some(events) = self.backend(service, backend) else {
            return;
        };
        match to {
            Health::Up => events.transitions.up += 1,
            Health::Down => events.transitions.down += 1,
            Health::Unknown => {}
        }
    }

    fn backend(&mut self, service: &str, backend: SocketAddr) -> Option<&mut BackendEvents> {
        let service = self.services.get_mut(service)?;
        service.backends.get_mut(&backend)
    }

    /// Counts a reload.
    pub fn reload(&self, good: bool) {
        let result = if good { RELOAD_OK } else { RELOAD_FAILED };
        self.reloads.with_label_values(&[result]).inc();
    }

    /// The families of the registry as they stand.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

impl ProbeCounts {
    /// The number of those that ended like this one.
    pub(crate) const fn counter(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::NotMade(_) => &mut self.not_made,
            Outcome::Timeout => &mut self.timeout,
            _ => &mut self.failed,
        }
    }
}
