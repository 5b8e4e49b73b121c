//! From configurations to states.

use lb_common::address::Address;

use super::*;
use crate::{
    config::model::{
        Config, FullNat, Icmp, Interface as ModelInterface, Mode, Ports, Probe, Protocol, Tunnel,
        XdpMode,
    },
    desired::overrides::{Override, Overrides, Setting},
};

struct Host;

impl Network for Host {
    /// Addresses that end in an odd number are behind a router.
    fn way(&self, address: IpAddr) -> Way {
        let on_link = Address::from(address).0[15].is_multiple_of(2);
        let own = if address.is_ipv4() {
            "192.0.2.1"
        } else {
            "2001:db8::1"
        };
        Way {
            next_hop: NextHop::new([4; 6], 9, on_link),
            mtu: 1500,
            source: Some(ip(own)),
        }
    }
    fn link_at(&self, index: u32) -> Option<Link> {
        (index == 9).then_some(Link {
            index,
            mac: [6; 6],
            mtu: 1500,
        })
    }
    fn addresses(&self) -> Vec<IpAddr> {
        vec![ip("192.0.2.1"), ip("203.0.113.10")]
    }
    fn link(&self, name: &str) -> Option<Link> {
        (name == "eth0").then_some(Link {
            index: 7,
            mac: [2; 6],
            mtu: 9000,
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
    assert_eq!(state.interfaces[&7], Interface::new([2; 6], 9000, false));
}

#[test]
fn an_interface_that_only_sends_is_there_for_its_address() {
    let state = state(None, Health::Up, Admin::Ready, 1);
    assert_eq!(state.interfaces[&9], Interface::new([6; 6], 1500, false));
}

#[test]
fn direct_return_does_not_go_through_a_router() {
    for (backend, reached) in [("10.0.0.12", true), ("10.0.0.11", false)] {
        let backend = backend_in(Mode::L2Dsr, backend, None);
        assert_eq!(backend.next_hop.is_resolved(), reached);
        assert_eq!((backend.forwarding, backend.mtu), (Forwarding::L2Dsr, 1500));
    }
}

#[test]
fn a_tunnel_comes_from_the_prefix_of_its_family_or_from_the_host() {
    let prefix = Some("198.51.100.0/26");
    let cases = [
        ("10.0.0.11", prefix, "198.51.100.0", 6),
        ("10.0.0.11", None, "192.0.2.1", 0),
        ("2001:db8::11", prefix, "2001:db8::1", 0),
    ];
    for (backend, prefix, address, spread) in cases {
        let source = TunnelSource {
            address: ip(address),
            spread,
        };
        let ipip = backend_in(Mode::Ipip, backend, prefix);
        assert_eq!(ipip.forwarding, Forwarding::Ipip(source));
        let gue = backend_in(Mode::Gue, backend, prefix);
        assert_eq!(gue.forwarding, Forwarding::Gue(source, 6080));
        assert!(gue.next_hop.is_resolved());
        let outer = if source.address.is_ipv4() { 20 } else { 40 };
        assert_eq!((ipip.mtu, gue.mtu), (1500 - outer, 1500 - outer - 8));
    }
}

/// A service's only backend.
fn backend_in(mode: Mode, address: &str, tunnel_source: Option<&str>) -> Backend {
    let mut config = config(None, 1);
    let service = &mut config.services[0];
    service.tunnel.source = tunnel_source.map(|prefix| prefix.parse().unwrap());
    service.backends[0].mode = mode;
    service.backends[0].address.set_ip(ip(address));
    let state = build(&Inputs {
        effective: &Overrides::default().apply(&config),
        health: |_, _| Health::Up,
        network: &Host,
        tracks: true,
        parts: &Parts::new(),
        guests: &Guests::new(),
        probe_link: None,
    });
    state.unwrap().services.remove(0).backends.remove(0)
}

fn state(probe: Option<Probe>, health: Health, admin: Admin, weight: u16) -> State {
    let address = SocketAddr::new(ip("10.0.0.11"), 8080);
    let config = config(probe, weight);
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
        tracks: true,
        parts: &Parts::new(),
        guests: &Guests::new(),
        probe_link: None,
    })
    .unwrap()
}

fn config(probe: Option<Probe>, weight: u16) -> Config {
    Config {
        interfaces: vec![ModelInterface {
            name: "eth0".into(),
            xdp: XdpMode::Auto,
            role: Role::Client,
        }],
        hash_seed: None,
        direct: Vec::new(),
        icmp: Icmp::default(),
        announce: None,
        peers: None,
        via_vip: model::ViaVip::default(),
        notify: Vec::new(),
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
            idle: Duration::from_mins(15),
            drain_deadline: Duration::from_hours(1),
            on_down: OnDown::Rehash,
            quic: false,
            affinity: None,
            announce: true,
            guards: model::Guards::default(),
            recovery: model::Recovery::default(),
            passive: model::Passive::default(),
            backends: vec![model::Backend {
                name: "b1".into(),
                address: SocketAddr::new(ip("10.0.0.11"), 8080),
                mode: Mode::Nat,
                weight,
                tier: 0,
            }],
        }],
    }
}

fn probe() -> Probe {
    let second = Duration::from_secs(1);
    Probe {
        check: std::sync::Arc::default(),
        port: None,
        interval: second,
        fast_interval: second,
        down_interval: second,
        max_interval: second,
        timeout: second,
        rise: 2,
        fall: 3,
        via_vip: model::Path::Off,
        start: model::Start::Down,
        feedback: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
