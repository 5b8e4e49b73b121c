//! What clients' packets show of backends: who is suspected, asked at once, or gets no new flows for a time.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use lb_common::counters::Signals;
use tokio::time::Instant;
use tracing::{info, warn};

use super::engine::Engine;
use crate::{
    api::{
        Error,
        types::{EventItem, PassiveItem},
    },
    config::model::{PassiveAct, Service},
    desired::{InstalledService, overrides::Effective},
    health::{
        Health,
        passive::{Look, News, Standing},
    },
};

impl Engine {
    /// Takes a look at all that is watched.
    pub(super) fn watch(&mut self) -> Result<(), Error> {
        let effective = Arc::clone(&self.effective);
        let services = effective.config.services.iter();
        let watched: Vec<&Service> = services.filter(|it| is_watched(it)).collect();
        let is_named = |name: &str| watched.iter().any(|service| service.name == name);
        self.watched.retain(is_named);
        let mut news = Vec::new();
        for service in watched {
            let look = self.look(service);
            for (address, it) in self.watched.look(look, Instant::now()) {
                news.push((service, address, it));
            }
        }
        let is_settled = |it: &News| matches!(it, News::Ejected(..) | News::Readmitted);
        if news.iter().any(|(.., it)| is_settled(it)) {
            self.settle(&effective)?;
        }
        for (service, address, it) in news {
            self.take_news(service, address, it);
        }
        Ok(())
    }

    fn look<'a>(&self, service: &'a Service) -> Look<'a> {
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
                let is_suppressed = it.penalty.is_some_and(|it| it.is_suppressed());
                is_suppressed || self.paths.judge(service, address, it.health) == Health::Down
            })
        };
        let out = service.backends.iter().filter(|it| is_out(it.address));
        let most = service.guards.most_out(service.backends.len());
        Look {
            service: &service.name,
            rules: service.passive,
            counters: counters.collect(),
            room: most.saturating_sub(out.count()),
        }
    }

    fn take_news(&self, service: &Service, address: SocketAddr, news: News) {
        let (what, cause) = match news {
            News::Suspected(fault) => ("suspected", fault.to_string()),
            News::Trusted => ("trusted", "its connections do as the others'".to_owned()),
            News::Ejected(fault, lasts) => {
                let lasts = humantime::format_duration(lasts);
                ("ejected", format!("{fault}: no new flows for {lasts}"))
            }
            News::Readmitted => ("readmitted", "its time is over".to_owned()),
        };
        if matches!(news, News::Suspected(_)) && service.passive.act >= PassiveAct::Probe {
            self.prober.ask_at_once(&service.name, address);
        }
        let (backend, service) = (self.name_of(&service.name, address), &service.name);
        match news {
            News::Suspected(_) | News::Ejected(..) => {
                warn!(%service, backend, cause, what, "packets show that a backend fails");
            }
            News::Trusted | News::Readmitted => {
                info!(%service, backend, cause, what, "packets show nothing against a backend");
            }
        }
        self.chronicle.record(EventItem {
            what: what.to_owned(),
            service: Some(service.clone()),
            backend: backend.map(str::to_owned),
            cause,
            ..EventItem::default()
        });
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
        if !is_watched(service) {
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

fn is_watched(service: &Service) -> bool {
    service.passive.act != PassiveAct::Off
}
