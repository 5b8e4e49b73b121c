//! Configuration, overrides, health and the host's network → [`State`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use lb_common::{
    backend::Tunnel,
    directory::{LOCAL, POOL, VIP},
    interface::Interface,
    next_hop::NextHop,
    probe_link::{self, ProbeLink},
};

use super::{
    claims::{self, Claim},
    overrides::{Admin, Effective},
    specialisation::Specialisation,
    state::{Action, Backend, Forwarding, Patience, Pool, Routes, Service, State, TunnelSource},
};
use crate::{
    config::model::{self, Mode, OnDown, Protocol, Role, Vip, WhenEmpty},
    health::Health,
    net::{client_routes::TooManyDirect, portal},
    slot_table::Part,
};

/// An interface of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Bytes of the longest IP packet that it takes; [`u16::MAX`] for more.
    pub mtu: u16,
}

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// By whom; [`NextHop::UNRESOLVED`] where the neighbour is not known.
    pub next_hop: NextHop,
    /// Bytes of the longest IP packet that leaves there; [`u16::MAX`] where that cannot be told.
    pub mtu: u16,
    /// The address of this host that packets would come from.
    pub source: Option<IpAddr>,
}

impl Way {
    /// No way.
    pub const NONE: Self = Self {
        next_hop: NextHop::UNRESOLVED,
        mtu: u16::MAX,
        source: None,
    };
}

/// What the state takes from the host's network.
pub trait Network {
    /// The way to an address.
    fn way(&self, address: IpAddr) -> Way;

    /// Every address of the host.
    fn addresses(&self) -> Vec<IpAddr>;

    /// An interface by name.
    fn link(&self, name: &str) -> Option<Link>;

    /// An interface by index.
    fn link_at(&self, index: u32) -> Option<Link>;

    /// The ways to clients; packets for the `direct` prefixes are left to the kernel.
    ///
    /// # Errors
    /// Where `direct` has more prefixes than the data path holds.
    fn client_routes(&self, direct: &[IpNet]) -> Result<Routes, TooManyDirect>;
}

/// Backends that other balancers know and the configuration does not: of which service, and where. They are on
/// their way out, as those are that the configuration named before.
pub type Guests = BTreeSet<(Vip, SocketAddr)>;

/// How much of its slots a backend takes, where that is not all.
pub type Parts = HashMap<(Vip, SocketAddr), Part>;

/// What the state is built from.
#[derive(Debug)]
pub struct Inputs<'a, H, N> {
    /// The configuration with its overrides.
    pub effective: &'a Effective,
    /// What probes say of a service's backend; asked for probed services only.
    pub health: H,
    /// The host's network.
    pub network: &'a N,
    /// Whether the kernel can track the flows of rows that change.
    pub tracks: bool,
    /// Who takes only a part.
    pub parts: &'a Parts,
    /// Who stays for the sake of flows that other balancers told of.
    pub guests: &'a Guests,
    /// The link that probes of the path come in by.
    pub probe_link: Option<ProbeLink>,
}

/// Builds the state. A backend takes flows while it is up (or not probed), ready, and of a weight
/// above 0.
///
/// # Errors
/// Where `direct` has more prefixes than the data path holds.
pub fn build<H, N>(inputs: &Inputs<'_, H, N>) -> Result<State, TooManyDirect>
where
    H: Fn(Vip, SocketAddr) -> Health,
    N: Network,
{
    let config = &inputs.effective.config;
    let mut builder = Builder {
        inputs,
        pools: Vec::new(),
    };
    let services = config.services.iter();
    let services = services.map(|s| builder.service(s)).collect();
    let pools = builder.pools;
    let mut state = State {
        services,
        addresses: addresses(config, &pools, inputs.network),
        pools,
        interfaces: BTreeMap::new(),
        routes: inputs.network.client_routes(&config.direct)?,
        flows: inputs.effective.flows,
        tracks: inputs.tracks,
        cut: None,
        specialisation: Specialisation {
            probe_link: inputs.probe_link,
            ..inputs.effective.specialisation.tracking(inputs.tracks)
        },
    };
    state.interfaces = interfaces(config, &state, inputs.network);
    Ok(state)
}

struct Builder<'a, 'b, H, N> {
    inputs: &'b Inputs<'a, H, N>,
    /// Each once.
    pools: Vec<Pool>,
}

fn patience(service: &model::Service) -> Patience {
    let is_tcp = service.vip.protocol == Protocol::Tcp;
    let affinity = service.affinity;
    Patience {
        idle: seconds(affinity.map_or(service.idle, |affinity| affinity.timeout)),
        deadline: seconds(service.drain_deadline),
        resets: is_tcp && service.on_down == OnDown::Reset,
        learns: affinity.is_some() || !is_tcp && !service.quic,
        hands_over: service.tunnel.second_chance,
        refuses: service.guards.when_empty == WhenEmpty::Reset,
        affinity: affinity.map_or(0, |affinity| affinity.bits(service.vip.address)),
    }
}

impl<H, N> Builder<'_, '_, H, N>
where
    H: Fn(Vip, SocketAddr) -> Health,
    N: Network,
{
    fn service(&mut self, service: &model::Service) -> Service {
        let backends = service.backends.iter();
        let mut backends: Vec<_> = backends.map(|b| self.backend(service, b)).collect();
        let guests = self.inputs.guests.iter();
        let theirs = guests.filter(|(vip, _)| *vip == service.vip);
        backends.extend(theirs.filter_map(|(_, address)| self.guest(service, *address)));
        Service {
            vip: service.vip,
            slots: service.slots(),
            mss: service.mss.unwrap_or(0),
            patience: patience(service),
            backends,
        }
    }

    /// A backend that the configuration does not name, reached as others of its service are; `None` where it names
    /// it, or where replies from there are another service's.
    fn guest(&mut self, service: &model::Service, address: SocketAddr) -> Option<Backend> {
        let claim = Claim {
            vip: service.vip,
            backend: address,
        };
        let config = &self.inputs.effective.config;
        let is_taken = service.mode == Mode::Nat
            && claims::configured(config).any(|other| claim.is_taken_by(&other));
        let mut named = service.backends.iter();
        if is_taken || named.any(|backend| backend.address == address) {
            return None;
        }
        let backend = model::Backend {
            name: String::new(),
            address,
            weight: 0,
            mode: service.mode,
            tier: 0,
        };
        Some(Backend {
            health: Health::Up,
            keeps: true,
            leaving: true,
            ..self.backend(service, &backend)
        })
    }

    fn backend(&mut self, service: &model::Service, backend: &model::Backend) -> Backend {
        let (vip, address) = (service.vip, backend.address);
        let health = match service.probe {
            Some(_) => (self.inputs.health)(vip, address),
            None => Health::Up,
        };
        let admin = self.inputs.effective.admin(&service.name, address);
        let part = self.inputs.parts.get(&(vip, address));
        let way = self.inputs.network.way(address.ip());
        let forwarding = self.forwarding(service, backend, way);
        let overhead = Tunnel::overhead(
            forwarding.mode(),
            address.is_ipv6(),
            service.tunnel.second_chance,
        );
        let claim = Claim {
            vip,
            backend: address,
        };
        Backend {
            address,
            forwarding,
            shared: forwarding == Forwarding::Nat && self.inputs.effective.shared.contains(&claim),
            weight: backend.weight,
            health,
            live: health == Health::Up && admin == Admin::Ready && backend.weight > 0,
            part: part.copied().unwrap_or(Part::WHOLE),
            keeps: admin != Admin::Maint
                && (health != Health::Down || service.on_down == OnDown::Keep),
            leaving: false,
            next_hop: self.next_hop(forwarding, way),
            mtu: way.mtu.saturating_sub(overhead),
        }
    }

    fn forwarding(
        &mut self,
        service: &model::Service,
        backend: &model::Backend,
        way: Way,
    ) -> Forwarding {
        let source = || tunnel_source(&service.tunnel, backend.address.ip(), way);
        match backend.mode {
            Mode::Nat => Forwarding::Nat,
            Mode::FullNat => Forwarding::FullNat(self.pool(pool(service, way))),
            Mode::L2Dsr => Forwarding::L2Dsr,
            Mode::Ipip => Forwarding::Ipip(source()),
            Mode::Gue => Forwarding::Gue(source(), service.tunnel.port),
        }
    }

    fn pool(&mut self, pool: Pool) -> u16 {
        let known = self.pools.iter().position(|other| *other == pool);
        let place = known.unwrap_or_else(|| {
            self.pools.push(pool);
            self.pools.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    /// Direct return reaches neighbours only: a router would send the packet back to the VIP. A tunnel
    /// must come from somewhere, and so must a flow.
    fn next_hop(&self, forwarding: Forwarding, way: Way) -> NextHop {
        let works = match forwarding {
            Forwarding::Nat => true,
            Forwarding::FullNat(pool) => {
                let pool = self.pools.get(usize::from(pool));
                pool.is_some_and(|pool| !pool.addresses.is_empty())
            }
            Forwarding::L2Dsr => way.next_hop.is_on_link(),
            Forwarding::Ipip(source) | Forwarding::Gue(source, _) => {
                !source.address.is_unspecified()
            }
        };
        if works {
            way.next_hop
        } else {
            NextHop::UNRESOLVED
        }
    }
}

/// Configured times fit.
fn seconds(time: Duration) -> u16 {
    u16::try_from(time.as_secs()).unwrap_or(u16::MAX)
}

/// What the file says for the family of the VIP, else the host's address towards the backend.
fn pool(service: &model::Service, way: Way) -> Pool {
    let v6 = service.vip.address.is_ipv6();
    let sources = service.full_nat.sources.iter().copied();
    let mut addresses: Vec<IpAddr> = sources.filter(|source| source.is_ipv6() == v6).collect();
    if addresses.is_empty() {
        addresses.extend(way.source);
    }
    addresses.truncate(lb_common::pool::ADDRESSES);
    Pool {
        addresses,
        ports: service.full_nat.ports,
    }
}

/// What the file says for the family of the tunnel's far end, else the host's address towards it.
fn tunnel_source(tunnel: &model::Tunnel, far_end: IpAddr, way: Way) -> TunnelSource {
    let of_family = |prefix: &IpNet| prefix.addr().is_ipv4() == far_end.is_ipv4();
    match tunnel.source.filter(of_family) {
        Some(prefix) => TunnelSource {
            address: prefix.network(),
            spread: prefix.max_prefix_len() - prefix.prefix_len(),
        },
        None => TunnelSource {
            address: way.source.unwrap_or_else(|| unspecified(far_end)),
            spread: 0,
        },
    }
}

const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn addresses(
    config: &model::Config,
    pools: &[Pool],
    network: &impl Network,
) -> BTreeMap<IpAddr, u64> {
    let vips = config.services.iter().map(|s| (s.vip.address, VIP));
    let local = network.addresses().into_iter().map(|ip| (ip, LOCAL));
    let sources = pools.iter().flat_map(|pool| &pool.addresses);
    let sources = sources.map(|address| (*address, POOL));
    let mut flags = BTreeMap::new();
    for (address, flag) in vips.chain(local).chain(sources) {
        *flags.entry(address).or_insert(0) |= flag;
    }
    flags
}

/// The configured interfaces, and those that only send: frames bear their MAC address and are no longer
/// than they take.
fn interfaces(
    config: &model::Config,
    state: &State,
    network: &impl Network,
) -> BTreeMap<u32, Interface> {
    let sending = next_hops(state).filter_map(|hop| {
        let Link { index, mac, mtu } = network.link_at(hop.ifindex())?;
        Some((index, Interface::new(mac, mtu, false)))
    });
    let configured = |interface: &model::Interface| {
        let Link { index, mac, mtu } = network.link(&interface.name)?;
        let from_backends = interface.role != Role::Client;
        Some((index, Interface::new(mac, mtu, from_backends)))
    };
    let configured = config.interfaces.iter().filter_map(configured);
    let probes = state.specialisation.probe_link.map(|link| {
        let interface = Interface::new(probe_link::MAC, portal::MTU, false);
        (link.ifindex, interface)
    });
    sending.chain(configured).chain(probes).collect()
}

fn next_hops(state: &State) -> impl Iterator<Item = NextHop> {
    let backends = state.services.iter().flat_map(|service| &service.backends);
    let Routes { v4, v6 } = &state.routes;
    let routes = v4.iter().chain(v6).filter_map(|route| match route.action {
        Action::NextHop(hop) => Some(hop),
        Action::Direct | Action::Fib => None,
    });
    let all = backends.map(|backend| backend.next_hop).chain(routes);
    all.filter(|hop| hop.is_resolved())
}

#[cfg(test)]
mod tests;
