//! Changes by hand: what an operator asks for, and the end of what was asked for a while.

use std::{net::SocketAddr, time::SystemTime};

use tracing::info;

use super::{
    by_hand::{self, Deed},
    engine::{Engine, next_second},
    guard,
    sources::{self, HostPorts},
};
use crate::{
    api::{
        Error,
        types::{BackendRequest, BackendVerb, Changed},
    },
    config::model::Service,
    health::Health,
};

impl Engine {
    /// Does what an operator asks for.
    pub(super) fn change(&mut self, request: &BackendRequest) -> Result<Changed, Error> {
        let deed = by_hand::plan(request, &self.config, &self.saved.overrides, next_second())?;
        let mut overrides = self.saved.overrides.clone();
        overrides.set(&deed.service, deed.address, deed.by_hand.clone());
        if overrides == self.saved.overrides {
            return Ok(self.changed(request, deed, None));
        }
        let effective = overrides.apply(&self.config);
        if !request.force {
            let is_up = |address| self.is_up(&deed.service, address);
            guard::keeps_a_backend(&deed.service, &self.effective, &effective, is_up)?;
        }
        sources::refuse(&effective.config, &self.host, HostPorts::read)?;
        let cut = matches!(request.verb, BackendVerb::Remove { now: true });
        let slots_moved = self.settle_but(&effective, cut.then_some(deed.address))?;
        self.adopt(effective);
        self.saved.overrides = overrides;
        self.saved.revision += 1;
        self.save()?;
        Ok(self.changed(request, deed, Some(slots_moved)))
    }

    fn changed(&self, request: &BackendRequest, deed: Deed, moved: Option<u32>) -> Changed {
        let services = &self.effective.config.services;
        let service = services.iter().find(|service| service.name == deed.service);
        Changed {
            service: deed.service,
            backend: deed.backend,
            verb: request.verb.word().to_owned(),
            changed: moved.is_some(),
            revision: self.saved.revision,
            slots_moved: moved.unwrap_or(0),
            slots: service.map_or(0, Service::slots),
            keeps_flows: self.dataplane.tracks() && request.verb.keeps_flows(),
            expires_in_seconds: request.for_seconds.filter(|_| moved.is_some()),
            undo: deed.undo.filter(|_| moved.is_some()),
        }
    }

    fn is_up(&self, service: &str, address: SocketAddr) -> bool {
        match self.reports.of(service, address) {
            Some(report) => report.health == Health::Up,
            // Services without a probe count all their backends as up.
            None => self
                .effective
                .config
                .services
                .iter()
                .any(|candidate| candidate.name == service && candidate.probe.is_none()),
        }
    }

    /// Ends what was set by hand for a while, where its time is over.
    pub(super) fn expire(&mut self) -> Result<(), Error> {
        self.expire_drain()?;
        let mut overrides = self.saved.overrides.clone();
        if !overrides.expire(SystemTime::now()) {
            return Ok(());
        }
        let effective = overrides.apply(&self.config);
        let slots_moved = self.settle(&effective)?;
        self.adopt(effective);
        self.saved.overrides = overrides;
        self.saved.revision += 1;
        info!(
            revision = self.saved.revision,
            slots_moved, "an override ended"
        );
        self.save()
    }
}
