//! What the lines depend on.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;

use crate::{
    config::model::{Backend, Config, Mode, Service},
    net::View,
};

/// Everything that is asked of configuration and network.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub(super) service: &'a Service,
    pub(super) backend: &'a Backend,
    /// How the balancer reaches it; `None` where it knows no route.
    pub(super) way: Option<Way>,
    /// Full NAT: where packets come from.
    pub(super) sources: Vec<Source>,
    /// Tunnels to this address, of all services.
    pub(super) tunnels: Tunnels,
}

/// The way from the balancer to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The balancer's own address on it.
    pub(super) balancer: Option<IpAddr>,
    /// The router, where the backend is not on a link of the balancer.
    pub(super) router: Option<IpAddr>,
    /// Bytes of the longest IP packet that leaves there.
    pub(super) mtu: u32,
}

/// An address of a full-nat pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) address: IpAddr,
    /// Whether whoever is on the balancer's link finds it there.
    pub(super) on_link: bool,
}

/// What comes to one address in tunnels: one host takes all of it out by one set of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tunnels {
    pub(super) vips: BTreeSet<IpAddr>,
    pub(super) sources: BTreeSet<IpNet>,
    pub(super) gue_ports: BTreeSet<u16>,
}

impl<'a> Facts<'a> {
    pub(super) fn gather(
        config: &Config,
        view: &View,
        service: &'a Service,
        backend: &'a Backend,
    ) -> Self {
        let address = backend.address.ip();
        let hop = view.neighbours_towards(address).next();
        let way = hop.map(|(_, via)| way(view, via, address));
        let own = way.and_then(|way| way.balancer);
        Self {
            service,
            backend,
            way,
            sources: sources(view, hop.map(|(ifindex, _)| ifindex), service, address, own),
            tunnels: tunnels(config, address, own),
        }
    }

    /// Whether the backend hands over packets of connections that it does not know.
    pub(super) fn hands_over(&self) -> bool {
        self.backend.mode == Mode::Gue && self.service.tunnel.second_chance
    }

    /// The backend's own address.
    pub(super) const fn address(&self) -> IpAddr {
        self.backend.address.ip()
    }

    /// Where probes of it go, if it is probed.
    pub(super) fn probed(&self) -> Option<SocketAddr> {
        let probe = self.service.probe.as_ref()?;
        let own = self.backend.address.port();
        Some(SocketAddr::new(self.address(), probe.port.unwrap_or(own)))
    }

    /// The VIP's address.
    pub(super) const fn vip(&self) -> IpAddr {
        self.service.vip.address
    }

    /// Which backend this is about.
    pub(super) fn title(&self) -> String {
        let Backend {
            name,
            address,
            mode,
            weight: _,
            tier: _,
        } = self.backend;
        let address = self.service.vip.backend(*address);
        let who = if *name == address {
            address
        } else {
            format!("{name} ({address})")
        };
        format!("{who} of {}, mode {}", self.service.name, mode.word())
    }
}

/// The same address and length that the daemon takes for tunnels and pools.
fn way(view: &View, via: IpAddr, address: IpAddr) -> Way {
    let way = view.way(address);
    Way {
        balancer: way.source,
        router: (via != address).then_some(via),
        mtu: way.mtu.unwrap_or(0),
    }
}

fn sources(
    view: &View,
    ifindex: Option<u32>,
    service: &Service,
    address: IpAddr,
    own: Option<IpAddr>,
) -> Vec<Source> {
    let is_on_link = |source: IpAddr| {
        let mut addresses = view.addresses.iter();
        let is_near = addresses.any(|a| Some(a.ifindex) == ifindex && a.net.contains(&source));
        is_near && view.is_local(source)
    };
    let configured = service.full_nat.sources.iter().copied();
    let mut sources: Vec<IpAddr> = configured
        .filter(|source| source.is_ipv4() == address.is_ipv4())
        .collect();
    if sources.is_empty() {
        sources.extend(own);
    }
    let source = |address| Source {
        address,
        on_link: is_on_link(address),
    };
    sources.into_iter().map(source).collect()
}

fn tunnels(config: &Config, address: IpAddr, own: Option<IpAddr>) -> Tunnels {
    let mut tunnels = Tunnels::default();
    for service in &config.services {
        let mut here = service.backends.iter();
        let here = here.find(|b| b.mode.is_tunnel() && b.address.ip() == address);
        let Some(backend) = here else {
            continue;
        };
        let source = service.tunnel.source;
        let source = source.filter(|source| source.addr().is_ipv4() == address.is_ipv4());
        tunnels.vips.insert(service.vip.address);
        let default = own.map(IpNet::from);
        tunnels.sources.extend(source.or(default));
        if backend.mode == Mode::Gue {
            tunnels.gue_ports.insert(service.tunnel.port);
        }
    }
    tunnels
}
