//! What clients' packets show of backends: who is suspected, asked at once, or gets no new flows for a time.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use lb_common::counters::Signals;
use tokio::time::Instant;
use tracing::warn;

use super::engine::Engine;
use crate::{
    api::{Error, types::PassiveItem},
    config::model::{PassiveAct, Service},
    desired::{
        InstalledService,
        overrides::{Admin, Effective},
    },
    health::{
        Health,
        passive::{Look, News, Standing, Why},
        slow_start::Rise,
    },
};

impl Engine {
    /// Takes a look at all that is watched.
    pub(super) fn watch(&mut self) -> Result<(), Error> {
        let effective = Arc::clone(&self.effective);
        let services = effective.config.services.iter();
        let watched: Vec<&Service> = services.filter(|it| it.is_watched()).collect();
        let named: HashSet<&str> = watched.iter().map(|it| it.name.as_str()).collect();
        for (service, address) in self.watched.retain(|name| named.contains(name)) {
            self.tell_passive(&service, address, "readmitted", &Why::Rules.to_string());
        }
        let now = Instant::now();
        for service in watched {
            let look = self.look(service, &effective);
            for (address, news) in self.watched.look(&look, now) {
                self.take_news(service, address, news, now);
            }
        }
        if !self.watched.take_unsettled() {
            return Ok(());
        }
        let settled = self.settle(&effective);
        if settled.is_err() {
            // The next look tries again.
            self.watched.set_unsettled();
        }
        settled.map(drop)
    }

    fn look<'a>(&self, service: &'a Service, effective: &Effective) -> Look<'a> {
        let installed = self.dataplane.installed().service(service.vip);
        let pairs = installed.map(InstalledService::pairs).unwrap_or_default();
        let counters = service.backends.iter().map(|backend| {
            let pairs = pairs.get(&backend.address).into_iter().flatten();
            let counters = pairs.map(|pair| (*pair, self.dataplane.signals(*pair)));
            (backend.address, counters.collect::<BTreeMap<_, _>>())
        });
        let is_out = |address| {
            let report = self.reports.of(&service.name, address);
            report.is_some_and(|it| {
                let health = self.paths.judge(service, address, it.health);
                it.is_suppressed() || health == Health::Down
            })
        };
        let addresses = service.backends.iter().map(|it| it.address);
        let down: BTreeSet<_> = addresses.filter(|address| is_out(*address)).collect();
        let last_tier = self.last_tier(service);
        let able = service.backends.iter().filter(|it| {
            let is_ready = effective.admin(&service.name, it.address) == Admin::Ready;
            is_ready && it.weight > 0 && it.tier <= last_tier && !down.contains(&it.address)
        });
        // Failures are likelier this host's own.
        let most = if self.doubts_own_path {
            0
        } else {
            service.guards.most_out(service.backends.len())
        };
        Look {
            service: &service.name,
            rules: service.passive,
            counters: counters.collect(),
            most,
            spare: able.count().saturating_sub(service.guards.min_up as usize),
            down,
        }
    }

    fn take_news(&mut self, service: &Service, address: SocketAddr, news: News, now: Instant) {
        let name = &service.name;
        match news {
            News::Suspected(fault) => {
                if service.passive.act >= PassiveAct::Probe {
                    self.prober.ask_at_once(name, address);
                }
                self.tell_passive(name, address, "suspected", &fault.to_string());
            }
            News::Trusted => {
                let cause = "its connections do as the others'";
                self.tell_passive(name, address, "trusted", cause);
            }
            News::Ejected(fault, lasts) => {
                let lasts = humantime::format_duration(lasts);
                let cause = format!("{fault}: no new flows for {lasts}");
                self.tell_passive(name, address, "ejected", &cause);
            }
            News::Readmitted(why) => {
                self.tell_passive(name, address, "readmitted", &why.to_string());
                self.grow_from(service, address, (why, now));
            }
        }
    }

    /// Lets the share of one grow that gets new flows again, where its service says so and can do without.
    fn grow_from(&mut self, service: &Service, address: SocketAddr, (why, at): (Why, Instant)) {
        let (Some(slow_start), Why::TimeIsOver) = (service.recovery.slow_start, why) else {
            return;
        };
        let rise = Rise {
            from: Health::Down,
            at,
            slow_start,
            has_others: true,
        };
        self.growing.rose(&(service.name.clone(), address), &rise);
    }

    fn tell_passive(&self, service: &str, address: SocketAddr, what: &str, cause: &str) {
        let backend = self.name_of(service, address);
        warn!(%service, backend, cause, what, "what packets show of a backend");
        self.note_backend((service, backend), what, cause);
    }

    /// Backends that get no new flows for what packets show.
    pub(super) fn ejected<'a>(
        &'a self,
        effective: &'a Effective,
    ) -> impl Iterator<Item = (&'a Service, SocketAddr)> {
        self.watched.out().filter_map(|(name, address)| {
            let mut services = effective.config.services.iter();
            let service = services.find(|it| it.name == name)?;
            (service.passive.act == PassiveAct::Eject).then_some((service, address))
        })
    }

    /// What packets show of a backend, where it is watched. `pair`: that of its new flows.
    pub(super) fn passive_item(
        &self,
        service: &Service,
        address: SocketAddr,
        pair: Option<u32>,
    ) -> Option<PassiveItem> {
        if !service.is_watched() {
            return None;
        }
        let Standing { fault, out_until } = self.watched.of(&service.name, address);
        let total = pair.map_or_else(Signals::default, |pair| self.dataplane.signals(pair));
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        Some(PassiveItem {
            tried: total.tried,
            again: total.again,
            opened: total.opened,
            resets: total.resets,
            suspected: fault.map(|fault| fault.to_string()),
            ejected_for_seconds: out_until.map(|until| left(until).as_secs()),
        })
    }
}
