//! Backends that come back: how much of their slots they take.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::info;

use super::engine::Engine;
use crate::{
    api::{
        Error,
        types::{DampingItem, EventItem, FeedbackItem, RecoveryItem},
    },
    config::model::{Feedback, FeedbackMode, Service},
    desired::{Parts, overrides::Effective},
    health::{
        Event, Health, Report,
        feedback::relative,
        slow_start::{Id, Rise},
    },
    slot_table::Part,
};

impl Engine {
    /// How much each backend takes, where that is not all.
    pub(super) fn parts(&self, effective: &Effective) -> Parts {
        let mut parts = Parts::new();
        for service in effective.config.services.iter().filter(|it| is_weighed(it)) {
            let backends = service.backends.iter().filter_map(|backend| {
                let report = self.reports.of(&service.name, backend.address);
                report.map(|report| (backend.address, report))
            });
            for (address, part) in advised(backends.collect()) {
                parts.insert((service.vip, address), part);
            }
        }
        for ((name, address), part) in self.growing.parts(Instant::now()) {
            if let Some(service) = service(effective, name) {
                let whole = parts.entry((service.vip, *address));
                whole
                    .and_modify(|whole| *whole = whole.times(part))
                    .or_insert(part);
            }
        }
        for (service, address) in self.ejected(effective) {
            parts.insert((service.vip, address), Part::NONE);
        }
        parts
    }

    /// Has the share of a backend grow that came back, and tells so. To be asked before the data path follows.
    pub(super) fn follow_recovery(&mut self, event: &Event) {
        let id = (event.service.to_string(), event.backend);
        if !event.rises {
            let falls = event.transition.is_some() || event.suppressed == Some(true);
            if falls {
                self.growing.fell(&id);
            }
            return;
        }
        let effective = Arc::clone(&self.effective);
        let Some(service) = service(&effective, &event.service) else {
            return;
        };
        let Some(slow_start) = service.recovery.slow_start else {
            return;
        };
        let installed = self.dataplane.installed().service(service.vip);
        let rise = Rise {
            from: event.transition.map_or(Health::Down, |it| it.from),
            at: event.at,
            slow_start,
            has_others: installed.is_some_and(|it| it.is_served_without(event.backend)),
        };
        if self.growing.rose(&id, &rise) {
            let lasts = humantime::format_duration(slow_start);
            self.tell_recovery(&id, "growing", &format!("its share grows for {lasts}"));
        }
    }

    /// Says that a backend is kept out because it fell too often, or is not any more.
    pub(super) fn report_damping(&self, event: &Event) {
        let Some(suppressed) = event.suppressed else {
            return;
        };
        let report = self.reports.of(&event.service, event.backend);
        let Some(penalty) = report.and_then(|report| report.penalty) else {
            return;
        };
        let points = penalty.points(event.at);
        let left = penalty.reused_in(event.at).map(|left| left.as_secs());
        let cause = match left {
            Some(left) if suppressed => format!("its penalty is {points}: taken back in {left}s"),
            _ => format!("its penalty is {points}"),
        };
        let what = if suppressed { "suppressed" } else { "reused" };
        self.tell_recovery(&(event.service.to_string(), event.backend), what, &cause);
    }

    /// Says that a backend takes more or less, as it advised.
    pub(super) fn report_advice(&self, event: &Event) {
        if let Some(part) = event.advised {
            let cause = format!("it says that it is good for {}%", part.percent());
            self.tell_recovery(
                &(event.service.to_string(), event.backend),
                "weighed",
                &cause,
            );
        }
    }

    /// Lets shares grow whose time has come.
    pub(super) fn grow(&mut self) -> Result<(), Error> {
        let grown = self.growing.take_grown(Instant::now());
        let effective = Arc::clone(&self.effective);
        self.settle(&effective)?;
        for id in grown {
            self.tell_recovery(&id, "grown", "slow_start is over");
        }
        Ok(())
    }

    /// Goes by the configuration in force.
    pub(super) fn follow_growing(&mut self) {
        let effective = &self.effective;
        self.growing.follow(|id| slow_start(effective, id));
    }

    /// Takes down what the daemon does not know as it begins.
    pub(super) fn begin_recovery(&mut self) {
        let reports = self.reports.all().into_iter();
        let unknown = reports.filter(|report| report.health == Health::Unknown);
        self.growing
            .begin(unknown.map(|report| (report.service, report.backend)));
    }

    /// How a backend comes back. `part`: how much it takes.
    pub(super) fn recovery_item(
        &self,
        service: &str,
        address: SocketAddr,
        part: Option<&Part>,
    ) -> RecoveryItem {
        let now = Instant::now();
        let left = self.growing.left(&(service.to_owned(), address), now);
        let report = self.reports.of(service, address);
        let advised = report.as_ref().and_then(|report| report.advised);
        let penalty = report.and_then(|report| report.penalty);
        RecoveryItem {
            weight_percent: part.unwrap_or(&Part::WHOLE).percent(),
            grown_in_seconds: left.map(|left| left.as_secs()),
            feedback: advised.map(|advised| FeedbackItem {
                applied: advised.mode() == FeedbackMode::Apply,
                advised_percent: advised.last().map(Part::percent),
                used_percent: advised.used().percent(),
                invalid: advised.invalid(),
            }),
            damping: penalty.map(|penalty| DampingItem {
                penalty: penalty.points(now),
                suppressed: penalty.is_suppressed(),
                reused_in_seconds: penalty.reused_in(now).map(|left| left.as_secs()),
            }),
        }
    }

    fn tell_recovery(&self, (service, address): &Id, what: &str, cause: &str) {
        let backend = self.name_of(service, *address);
        info!(%service, backend, cause, what, "a backend comes back");
        self.note_backend((service, backend), what, cause);
    }

    /// Takes down what became of a backend.
    pub(super) fn note_backend(
        &self,
        (service, backend): (&str, Option<&str>),
        what: &str,
        cause: &str,
    ) {
        self.chronicle.record(EventItem {
            what: what.to_owned(),
            service: Some(service.to_owned()),
            backend: backend.map(str::to_owned),
            cause: cause.to_owned(),
            ..EventItem::default()
        });
    }
}

/// Whether more than the configuration says how much its backends take.
fn is_weighed(service: &Service) -> bool {
    let is_applied = |feedback: &Feedback| feedback.mode == FeedbackMode::Apply;
    let feedback = service.probe.as_ref().and_then(|it| it.feedback.as_ref());
    service.recovery.damping.is_some() || feedback.is_some_and(is_applied)
}

/// What the backends of a service take as they advise; those that are kept out take nothing.
fn advised(backends: Vec<(SocketAddr, Report)>) -> impl Iterator<Item = (SocketAddr, Part)> {
    let used = |report: &Report| report.advised.map_or(Part::WHOLE, |it| it.used());
    let all = backends.iter().map(|(_, report)| used(report));
    let most = all.max().unwrap_or(Part::WHOLE);
    backends.into_iter().map(move |(address, report)| {
        let part = relative(used(&report), most);
        let is_kept_out = report.is_suppressed();
        (address, if is_kept_out { Part::NONE } else { part })
    })
}

fn service<'a>(effective: &'a Effective, name: &str) -> Option<&'a Service> {
    let mut services = effective.config.services.iter();
    services.find(|service| service.name == name)
}

/// How long the share of a backend grows that comes back, where there is one.
fn slow_start(effective: &Effective, (name, address): &Id) -> Option<Duration> {
    let service = service(effective, name)?;
    let has = |address: SocketAddr| service.backends.iter().any(|it| it.address == address);
    service.recovery.slow_start.filter(|_| has(*address))
}
