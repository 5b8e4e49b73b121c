//! The host's network as the desired state asks for it.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    config::model::Config,
    desired::{Link, Network, Routes, Way},
    net::{Resolution, View, client_routes::TooManyDirect},
};

/// One view of the network, with what was looked up in it: states are built from it many times
/// before it changes, and its routes may be many.
#[derive(Debug)]
pub struct Host {
    view: Arc<View>,
    routes: Routes,
    ways: RefCell<HashMap<IpAddr, Way>>,
}

impl Host {
    /// Compiles the ways to clients; packets for the `direct` prefixes are left to the kernel.
    ///
    /// # Errors
    /// Where the `direct` prefixes do not fit.
    pub fn try_new(view: Arc<View>, direct: &[IpNet]) -> Result<Self, TooManyDirect> {
        Ok(Self {
            routes: Network::client_routes(&*view, direct)?,
            ways: RefCell::default(),
            view,
        })
    }

    /// Whether a backend of a service that is not probed has a neighbour who is not resolved yet.
    pub(super) fn has_cold_neighbours(&self, config: &Config) -> bool {
        let services = config.services.iter();
        let unprobed = services.filter(|service| service.probe.is_none());
        let mut backends = unprobed.flat_map(|service| &service.backends);
        backends.any(|backend| {
            let resolution = self.view.resolve(backend.address.ip());
            matches!(resolution, Resolution::Unresolved { .. })
        })
    }

    /// The neighbours that packets of this configuration leave by: towards backends, `more` of which it does not
    /// name, and towards clients behind routers.
    pub(super) fn neighbours(
        &self,
        config: &Config,
        more: impl Iterator<Item = IpAddr>,
    ) -> BTreeSet<(u32, IpAddr)> {
        let backends = config.services.iter().flat_map(|service| &service.backends);
        let backends = backends.map(|backend| backend.address.ip());
        let addresses: BTreeSet<IpAddr> = backends.chain(more).collect();
        addresses
            .into_iter()
            .flat_map(|address| self.view.neighbours_towards(address))
            .chain(self.view.gateways())
            .collect()
    }
}

impl Network for Host {
    fn way(&self, address: IpAddr) -> Way {
        let mut ways = self.ways.borrow_mut();
        *ways
            .entry(address)
            .or_insert_with(|| Network::way(&*self.view, address))
    }

    fn link_at(&self, index: u32) -> Option<Link> {
        self.view.link_at(index)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        Network::addresses(&*self.view)
    }

    fn link(&self, name: &str) -> Option<Link> {
        Network::link(&*self.view, name)
    }

    /// Compiled once, for the prefixes given then.
    fn client_routes(&self, _direct: &[IpNet]) -> Result<Routes, TooManyDirect> {
        Ok(self.routes.clone())
    }
}
