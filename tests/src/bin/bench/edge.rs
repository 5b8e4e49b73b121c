//! The balancer that is measured: three services with 100 backends and 65,536 slots each, all in one
//! mode, clients behind the default gateway.

use std::net::SocketAddr;

use lb_common::{backend::Mode, next_hop::NextHop, route::Action};
use lb_tests::{
    kernel::INGRESS,
    packet::{OUR_MAC, TCP, UDP},
    world::{Link, Service, World, pool},
};

const BACKENDS: u8 = 100;
const LOG2_SLOTS: u32 = 16;
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];

/// The balancer; what leaves it goes by interface `egress`.
pub(crate) fn world(egress: u32, mode: Mode) -> World {
    let gateway = NextHop::new(GATEWAY, egress, false);
    let service = |vip: &str, protocol, v6: bool| Service {
        links: vec![link(mode, v6); BACKENDS.into()],
        ..Service::new(sock(vip), protocol, backends(v6, egress), LOG2_SLOTS)
    };
    let sources = |net: &str| {
        (1..=16u16)
            .map(|n| ip(&format!("{net}{n}")))
            .collect::<Vec<_>>()
    };
    World {
        pools: vec![
            pool(&sources("10.7.0."), 1024, 60_000),
            pool(&sources("2001:db8:7::"), 1024, 60_000),
        ],
        // Two for each flow, and as many again.
        flows: if mode == Mode::FullNat { 1 << 22 } else { 64 },
        interfaces: vec![(INGRESS, OUR_MAC, true), (egress, OUR_MAC, true)],
        services: vec![
            service("203.0.113.10:80", TCP, false),
            service("203.0.113.10:53", UDP, false),
            service("[2001:db8:f::10]:80", TCP, true),
        ],
        local: ["10.0.0.1", "2001:db8:1::1"].map(ip).to_vec(),
        routes: vec![
            (ip("10.0.0.0"), 24, Action::Fib, NextHop::UNRESOLVED),
            (ip("0.0.0.0"), 0, Action::NextHop, gateway),
            (ip("2001:db8:1::"), 64, Action::Fib, NextHop::UNRESOLVED),
            (ip("::"), 0, Action::NextHop, gateway),
        ],
        hash_key: [0x1234_5678_9abc_def1, 0xfedc_ba98_7654_3211],
        ..World::default()
    }
}

/// How every backend of a family is reached.
fn link(mode: Mode, v6: bool) -> Link {
    Link {
        mode,
        mtu: 1400,
        source: ip(if v6 { "2001:db8:8::" } else { "10.8.0.0" }),
        spread: 8,
        pool: v6.into(),
        ..Link::NAT
    }
}

/// The MAC address of backend `n`.
pub(crate) const fn backend_mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 1, 0, n]
}

/// The address and port of backend `n`.
pub(crate) fn backend(v6: bool, n: u8) -> SocketAddr {
    let host = u16::from(n) + 16;
    sock(&if v6 {
        format!("[2001:db8:1::{host:x}]:8080")
    } else {
        format!("10.0.0.{host}:8080")
    })
}

fn backends(v6: bool, egress: u32) -> Vec<(SocketAddr, NextHop)> {
    (0..BACKENDS)
        .map(|n| (backend(v6, n), NextHop::new(backend_mac(n), egress, true)))
        .collect()
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn sock(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}
