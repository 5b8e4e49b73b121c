//! Whom to probe.

use std::net::SocketAddr;

use crate::{
    config::model::{Service, Start},
    desired::overrides::{Admin, Effective},
    health::{Health, Target},
};

/// Every backend of a probed service that is not in maintenance. `initial` tells the state of those
/// that are new to the prober.
pub(super) fn targets(
    effective: &Effective,
    initial: impl Fn(&Service, SocketAddr) -> Health,
) -> Vec<Target> {
    let mut targets = Vec::new();
    for service in &effective.config.services {
        let Some(probe) = &service.probe else {
            continue;
        };
        let most_out = service.guards.most_out(service.backends.len());
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
                initial: initial(service, backend.address),
                damping: service.recovery.damping,
            });
        }
    }
    targets
}

/// What a backend is before its first probe: what the maps say, else what the file has it begin as.
pub(super) fn initial(service: &Service, installed: Health) -> Health {
    match (installed, &service.probe) {
        (Health::Unknown, Some(probe)) if probe.start == Start::Up => Health::Up,
        (known, _) => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::samples;

    #[test]
    fn what_is_known_wins_over_what_a_backend_begins_as() {
        let mut service = samples::config().services.remove(0);
        let [down, unknown, up] = [Health::Down, Health::Unknown, Health::Up];
        let begins = |service: &Service| [down, unknown, up].map(|it| initial(service, it));
        assert_eq!(begins(&service), [down, unknown, up]);
        service.probe.as_mut().unwrap().start = Start::Up;
        assert_eq!(begins(&service), [down, up, up]);
    }
}
