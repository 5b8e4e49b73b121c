//! What backends need for their modes, as the host's network is at this moment.

use super::engine::Engine;
use crate::{api::types::BackendSetup, backend_setup};

impl Engine {
    /// Lines for each backend of each service.
    pub(super) fn backend_setup(&self) -> Vec<BackendSetup> {
        let (config, view) = (&self.effective.config, self.follower.view());
        let pairs = config.services.iter().flat_map(|service| {
            let backends = service.backends.iter();
            backends.map(move |backend| (service, backend))
        });
        let setup = pairs.map(|(service, backend)| BackendSetup {
            service: service.name.clone(),
            name: backend.name.clone(),
            address: service.vip.backend(backend.address),
            mode: backend.mode.word().to_owned(),
            commands: backend_setup::lines(config, &view, service, backend),
        });
        setup.collect()
    }
}
