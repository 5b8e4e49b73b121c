//! What the daemon counts itself: probes, transitions, reloads.

use std::{collections::HashSet, time::Duration};

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, proto::MetricFamily};

use crate::{api::types::Health, health::Outcome};

/// How a probe ended, in few words: a label for each backend costs memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The backend, or the network, said no.
    Failed,
    /// This host could not ask.
    NotMade,
    /// The backend answered.
    Ok,
    /// Nothing came back in time.
    Timeout,
}

impl ProbeResult {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Failed, Self::NotMade, Self::Ok, Self::Timeout];

    /// The label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NotMade => "not_made",
            Self::Ok => "ok",
            Self::Timeout => "timeout",
        }
    }
}

impl From<Outcome> for ProbeResult {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::NotMade(_) => Self::NotMade,
            Outcome::Timeout => Self::Timeout,
            Outcome::Failed(_) | Outcome::Refused | Outcome::Reset | Outcome::Unreachable => {
                Self::Failed
            }
        }
    }
}

/// Counters of the daemon's own deeds.
#[derive(Debug)]
pub struct Events {
    registry: Registry,
    probe_attempts: IntCounterVec,
    probe_duration: HistogramVec,
    transitions: IntCounterVec,
    reloads: IntCounterVec,
    known: HashSet<(String, String)>,
}

/// What probes can decide.
const DECIDED: [Health; 2] = [Health::Down, Health::Up];

/// Upper bounds of the probe histogram in seconds: from a neighbour to the longest timeout.
const PROBE_BUCKETS: [f64; 12] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
];

impl Events {
    /// Counters at zero.
    ///
    /// # Errors
    /// Where two of them have one name: a fault of xlb.
    pub fn try_new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name, help, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let probe_attempts = counter(
            "xlb_probe_attempts_total",
            "Probes that ended.",
            &["service", "backend", "result"],
        )?;
        let transitions = counter(
            "xlb_backend_transitions_total",
            "Times that probes changed their mind about a backend.",
            &["service", "backend", "to"],
        )?;
        let reloads = counter(
            "xlb_config_reloads_total",
            "Configurations that were read after the start.",
            &["result"],
        )?;
        let probe_duration = HistogramVec::new(
            HistogramOpts::new("xlb_probe_duration_seconds", "How long probes took.")
                .buckets(PROBE_BUCKETS.to_vec()),
            &["service"],
        )?;
        registry.register(Box::new(probe_duration.clone()))?;
        for result in [RELOAD_OK, RELOAD_FAILED] {
            reloads.with_label_values(&[result]);
        }
        Ok(Self {
            registry,
            probe_attempts,
            probe_duration,
            transitions,
            reloads,
            known: HashSet::new(),
        })
    }

    /// Starts at zero what is new among the pairs of service and backend, and forgets what is gone.
    pub fn follow(&mut self, pairs: HashSet<(String, String)>) {
        for (service, backend) in self.known.difference(&pairs) {
            self.forget(service, backend);
        }
        for (service, backend) in pairs.difference(&self.known) {
            self.begin(service, backend);
        }
        let services = |pairs: &HashSet<(String, String)>| -> HashSet<String> {
            pairs.iter().map(|(service, _)| service.clone()).collect()
        };
        for service in services(&self.known).difference(&services(&pairs)) {
            // An error says that it is gone already.
            drop(self.probe_duration.remove_label_values(&[service]));
        }
        self.known = pairs;
    }

    fn begin(&self, service: &str, backend: &str) {
        for result in ProbeResult::ALL {
            self.probe_attempts
                .with_label_values(&[service, backend, result.label()]);
        }
        for to in DECIDED {
            self.transitions
                .with_label_values(&[service, backend, to.word()]);
        }
        self.probe_duration.with_label_values(&[service]);
    }

    fn forget(&self, service: &str, backend: &str) {
        for result in ProbeResult::ALL {
            let labels = [service, backend, result.label()];
            drop(self.probe_attempts.remove_label_values(&labels));
        }
        for to in DECIDED {
            let labels = [service, backend, to.word()];
            drop(self.transitions.remove_label_values(&labels));
        }
    }

    /// Counts a probe.
    pub fn probe(&self, service: &str, backend: &str, result: ProbeResult, took: Duration) {
        self.probe_attempts
            .with_label_values(&[service, backend, result.label()])
            .inc();
        self.probe_duration
            .with_label_values(&[service])
            .observe(took.as_secs_f64());
    }

    /// Counts a change of mind about a backend.
    pub fn transition(&self, service: &str, backend: &str, to: Health) {
        self.transitions
            .with_label_values(&[service, backend, to.word()])
            .inc();
    }

    /// Counts a reload.
    pub fn reload(&self, good: bool) {
        let result = if good { RELOAD_OK } else { RELOAD_FAILED };
        self.reloads.with_label_values(&[result]).inc();
    }

    /// The families as they stand.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

const RELOAD_OK: &str = "ok";
const RELOAD_FAILED: &str = "failed";
