//! Whom to probe.

use std::net::SocketAddr;

use crate::{
    config::model::Vip,
    desired::overrides::{Admin, Effective},
    health::{Health, Target},
};

/// Every backend of a probed service that is not in maintenance. `initial` tells the state of those
/// that are new to the prober.
pub(super) fn targets(
    effective: &Effective,
    initial: impl Fn(Vip, SocketAddr) -> Health,
) -> Vec<Target> {
    let mut targets = Vec::new();
    for service in &effective.config.services {
        let Some(probe) = &service.probe else {
            continue;
        };
        let all = service.backends.len();
        let most_out = service
            .guards
            .max_ejected
            .map_or(all, |share| share.of(all));
        for backend in &service.backends {
            if effective.admin(&service.name, backend.address) == Admin::Maint {
                continue;
            }
            targets.push(Target {
                service: service.name.clone(),
                backend: backend.address,
                probe: probe.clone(),
                via: None,
                most_out,
                initial: initial(service.vip, backend.address),
            });
        }
    }
    targets
}
