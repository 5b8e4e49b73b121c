//! Configuration, overrides, health and the host's network → [`State`].

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use lb_common::{
    directory::{LOCAL, VIP},
    interface::Interface,
    next_hop::NextHop,
};

use super::{
    overrides::{Admin, Effective},
    state::{Action, Backend, Routes, Service, State},
};
use crate::{
    config::model::{self, Role, Vip},
    health::Health,
    net::client_routes::TooManyDirect,
};

/// An interface of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
}

/// What the state takes from the host's network.
pub trait Network {
    /// The way to an address; [`NextHop::UNRESOLVED`] where its neighbour is not known.
    fn next_hop(&self, address: IpAddr) -> NextHop;

    /// Every address of the host.
    fn addresses(&self) -> Vec<IpAddr>;

    /// An interface by name.
    fn link(&self, name: &str) -> Option<Link>;

    /// The MAC address of the interface with this index.
    fn mac(&self, index: u32) -> Option<[u8; 6]>;

    /// The ways to clients; packets for the `direct` prefixes are left to the kernel.
    ///
    /// # Errors
    /// Where `direct` has more prefixes than the data path holds.
    fn client_routes(&self, direct: &[IpNet]) -> Result<Routes, TooManyDirect>;
}

/// What the state is built from.
#[derive(Debug)]
pub struct Inputs<'a, H, N> {
    /// The configuration with its overrides.
    pub effective: &'a Effective,
    /// What probes say of a service's backend; asked for probed services only.
    pub health: H,
    /// The host's network.
    pub network: &'a N,
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
    let services = config.services.iter();
    let mut state = State {
        services: services.map(|s| build_service(s, inputs)).collect(),
        addresses: addresses(config, inputs.network),
        interfaces: BTreeMap::new(),
        routes: inputs.network.client_routes(&config.direct)?,
    };
    state.interfaces = interfaces(config, &state, inputs.network);
    Ok(state)
}

fn build_service<H, N>(service: &model::Service, inputs: &Inputs<'_, H, N>) -> Service
where
    H: Fn(Vip, SocketAddr) -> Health,
    N: Network,
{
    let vip = service.vip;
    let backend = |backend: &model::Backend| {
        let address = backend.address;
        let health = match service.probe {
            Some(_) => (inputs.health)(vip, address),
            None => Health::Up,
        };
        let admin = inputs.effective.admin(&service.name, address);
        Backend {
            address,
            weight: backend.weight,
            health,
            live: health == Health::Up && admin == Admin::Ready && backend.weight > 0,
            next_hop: inputs.network.next_hop(address.ip()),
        }
    };
    Service {
        vip,
        slots: service.slots(),
        backends: service.backends.iter().map(backend).collect(),
    }
}

fn addresses(config: &model::Config, network: &impl Network) -> BTreeMap<IpAddr, u64> {
    let vips = config.services.iter().map(|s| (s.vip.address, VIP));
    let local = network.addresses().into_iter().map(|ip| (ip, LOCAL));
    let mut flags = BTreeMap::new();
    for (address, flag) in vips.chain(local) {
        *flags.entry(address).or_insert(0) |= flag;
    }
    flags
}

/// The configured interfaces, and those that only send: frames bear their MAC address.
fn interfaces(
    config: &model::Config,
    state: &State,
    network: &impl Network,
) -> BTreeMap<u32, Interface> {
    let sending = next_hops(state).filter_map(|hop| {
        let mac = network.mac(hop.ifindex())?;
        Some((hop.ifindex(), Interface::new(mac, u16::MAX, false)))
    });
    let configured = |interface: &model::Interface| {
        let link = network.link(&interface.name)?;
        let from_backends = interface.role != Role::Client;
        Some((link.index, Interface::new(link.mac, u16::MAX, from_backends)))
    };
    let configured = config.interfaces.iter().filter_map(configured);
    sending.chain(configured).collect()
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
mod tests {
    use super::*;
    use crate::{
        config::model::{
            Config, FullNat, Icmp, Interface as ModelInterface, Mode, Ports, Probe, Protocol,
            Tunnel, XdpMode,
        },
        desired::overrides::{Override, Overrides, Setting},
    };

    struct Host;

    impl Network for Host {
        fn next_hop(&self, _: IpAddr) -> NextHop {
            NextHop::new([4; 6], 9, true)
        }
        fn mac(&self, index: u32) -> Option<[u8; 6]> {
            (index == 9).then_some([6; 6])
        }
        fn addresses(&self) -> Vec<IpAddr> {
            vec![ip("192.0.2.1"), ip("203.0.113.10")]
        }
        fn link(&self, name: &str) -> Option<Link> {
            (name == "eth0").then_some(Link {
                index: 7,
                mac: [2; 6],
            })
        }
        fn client_routes(&self, _: &[IpNet]) -> Result<Routes, TooManyDirect> {
            Ok(Routes::default())
        }
    }

    #[test]
    fn only_ready_weighted_and_answering_backends_are_live() {
        let cases = [
            (Health::Up, Admin::Ready, 1, true),
            (Health::Unknown, Admin::Ready, 1, false),
            (Health::Down, Admin::Ready, 1, false),
            (Health::Up, Admin::Drain, 1, false),
            (Health::Up, Admin::Maint, 1, false),
            (Health::Up, Admin::Ready, 0, false),
        ];
        for (health, admin, weight, live) in cases {
            let state = state(Some(probe()), health, admin, weight);
            let backend = &state.services[0].backends[0];
            assert_eq!(backend.live, live, "{health:?} {admin:?} {weight}");
        }
    }

    #[test]
    fn a_backend_that_is_not_probed_is_up() {
        assert!(state(None, Health::Down, Admin::Ready, 1).services[0].backends[0].live);
    }

    #[test]
    fn an_address_may_be_a_vip_and_local() {
        let state = state(None, Health::Up, Admin::Ready, 1);
        assert_eq!(state.addresses[&ip("203.0.113.10")], VIP | LOCAL);
        assert_eq!(state.addresses[&ip("192.0.2.1")], LOCAL);
    }

    #[test]
    fn replies_may_not_come_in_by_an_interface_of_clients() {
        let state = state(None, Health::Up, Admin::Ready, 1);
        assert_eq!(state.interfaces[&7], Interface::new([2; 6], u16::MAX, false));
    }

    #[test]
    fn an_interface_that_only_sends_is_there_for_its_address() {
        let state = state(None, Health::Up, Admin::Ready, 1);
        assert_eq!(state.interfaces[&9], Interface::new([6; 6], u16::MAX, false));
    }

    fn state(probe: Option<Probe>, health: Health, admin: Admin, weight: u16) -> State {
        let address = SocketAddr::new(ip("10.0.0.11"), 8080);
        let config = Config {
            interfaces: vec![ModelInterface {
                name: "eth0".into(),
                xdp: XdpMode::Auto,
                role: Role::Client,
            }],
            hash_seed: None,
            direct: Vec::new(),
            icmp: Icmp::default(),
            services: vec![model::Service {
                name: "web".into(),
                vip: Vip {
                    address: ip("203.0.113.10"),
                    ports: Ports::One(80),
                    protocol: Protocol::Tcp,
                },
                mode: Mode::Nat,
                slots: None,
                probe,
                tunnel: Tunnel::default(),
                full_nat: FullNat::default(),
                mss: None,
                backends: vec![model::Backend {
                    name: "b1".into(),
                    address,
                    mode: Mode::Nat,
                    weight,
                }],
            }],
        };
        let mut overrides = Overrides::default();
        let by_hand = Override {
            admin: Some(Setting {
                value: admin,
                expires: None,
            }),
            ..Override::default()
        };
        overrides.set("web", address, by_hand);
        build(&Inputs {
            effective: &overrides.apply(&config),
            health: |_, _| health,
            network: &Host,
        })
        .unwrap()
    }

    fn probe() -> Probe {
        let second = std::time::Duration::from_secs(1);
        Probe {
            port: None,
            interval: second,
            timeout: second,
            rise: 2,
            fall: 3,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
