//! Ways that take shorter packets than both ends do: whoever sends longer ones is told so, by a router
//! or by xlb itself, and goes on with shorter ones.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use lb_common::backend::{Mode as Way, Tunnel};
use lb_tests::{config::Service, damage, icmp::path_mtu};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Host, Link, Namespace, Options, Topology},
};
use socket2::SockRef;

use crate::{
    backends::{
        Backends, datagrams_are_whole_both_ways, names, network, pages_are_whole_both_ways, web,
        weights,
    },
    site::{nothing_was_dropped, nothing_was_dropped_but, start},
};

/// Bytes of a large transfer.
const TRANSFER: usize = 2 << 20;

/// Bytes of the longest packet on links.
const WIDE: u16 = 1500;

/// Bytes of the longest packet on the way that takes less. Whatever carries it, there is room for the 1,280
/// that IPv6 needs (RFC 8200, section 5).
const NARROW: u16 = 1400;

/// Has a router take shorter packets only to a host.
fn narrow(router: &Namespace, interface: &str, host: &Link, via: Option<&Link>) {
    let route = |family, length| {
        let to = host.address.of(family);
        let via = via.map(|via| format!("via {} ", via.address.of(family)));
        let via = via.unwrap_or_default();
        format!("route replace {to}/{length} {via}dev {interface} mtu lock {NARROW}")
    };
    let routes = [route(Family::V4, 32), route(Family::V6, 128)];
    router.ip(routes).unwrap();
}

/// Has the clients' router take shorter packets only, from and to the client.
fn narrow_clients(topology: &Topology) {
    let router = topology.router.as_ref().unwrap();
    let Host { link, .. } = &topology.client;
    narrow(&router.namespace, &router.front.interface, link, None);
    for family in Family::ALL {
        let via = topology.balancer.front.address.of(family);
        let everything = if via.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let route = format!("route replace {everything} via {via} mtu lock {NARROW}");
        router.namespace.ip([route]).unwrap();
    }
}

/// Has the backends' router take shorter packets only to the backends behind it.
fn narrow_backends(topology: &Topology) {
    let inner = topology.inner.as_ref().unwrap();
    for backend in topology.near_and_far().1 {
        let interface = &inner.back.interface;
        narrow(&inner.namespace, interface, &backend.link, None);
    }
}

/// Large transfers and full datagrams, both ways, in both families. Packets may be dropped for `reasons`.
fn carries(topology: &Topology, mode: Mode, weights: &[u16], reasons: &[&str]) {
    let backends = Backends::start(topology, mode);
    let both = Family::ALL.map(|family| [web(family, mode), names(family, mode)]);
    let weighed = both.map(|both| both.map(|service| Service { weights, ..service }));
    let xlb = start(topology, weighed.as_flattened());
    for [web, names] in weighed {
        let [web, names] = [web, names].map(|service: Service<'_>| service.vip(topology));
        pages_are_whole_both_ways(topology, &backends.fleet, web, TRANSFER);
        datagrams_are_whole_both_ways(topology, names);
    }
    damage::assert_none(topology).unwrap();
    nothing_was_dropped_but(&xlb, reasons);
}

/// What the client has been told of the way to the VIP.
fn clients_mtu(topology: &Topology, family: Family) -> Option<u16> {
    let vip = topology.vip.of(family);
    path_mtu(&topology.client.namespace, vip).unwrap()
}

/// Routers tell the VIP what does not fit, which a backend sent; xlb tells the backend.
fn backends_hear_of_the_way_to_clients(mode: Mode) {
    let topology = Topology::two_armed(network(mode)).unwrap();
    narrow_clients(&topology);
    carries(&topology, mode, weights(mode), &[]);
    let peer = match mode {
        Mode::FullNat => &topology.balancer.back,
        _ => &topology.client.link,
    };
    for family in Family::ALL {
        let peer = peer.address.of(family);
        let told = |host: &Host| path_mtu(&host.namespace, peer).unwrap() == Some(NARROW);
        assert!(topology.backends.iter().any(told), "{family}");
        assert_eq!(clients_mtu(&topology, family), Some(NARROW));
    }
}

#[test]
fn nat_backends_hear_of_the_way_to_clients() {
    backends_hear_of_the_way_to_clients(Mode::Nat);
}

#[test]
fn full_nat_backends_hear_of_the_way_to_clients() {
    backends_hear_of_the_way_to_clients(Mode::FullNat);
}

#[test]
fn l2_dsr_backends_hear_of_the_way_to_clients() {
    backends_hear_of_the_way_to_clients(Mode::L2Dsr);
}

#[test]
fn ipip_backends_hear_of_the_way_to_clients() {
    backends_hear_of_the_way_to_clients(Mode::Ipip);
}

#[test]
fn gue_backends_hear_of_the_way_to_clients() {
    backends_hear_of_the_way_to_clients(Mode::Gue);
}

/// The router between balancer and backends speaks of packets that xlb made of clients' packets.
fn clients_hear_of_the_way_to_backends(mode: Mode, overhead: impl Fn(Family) -> u16) {
    let options = Options {
        backends: 0,
        ..network(mode)
    };
    let topology = Topology::two_armed(options).unwrap();
    narrow_backends(&topology);
    // Errors about tunnels end at xlb.
    let reasons = ["tunnel_error"];
    let reasons = &reasons[..usize::from(mode.is_tunnel())];
    carries(&topology, mode, &[1], reasons);
    for family in Family::ALL {
        let expected = NARROW - overhead(family);
        assert_eq!(clients_mtu(&topology, family), Some(expected), "{family}");
    }
}

#[test]
fn clients_hear_of_the_way_to_nat_backends() {
    clients_hear_of_the_way_to_backends(Mode::Nat, |_| 0);
}

#[test]
fn clients_hear_of_the_way_to_full_nat_backends() {
    clients_hear_of_the_way_to_backends(Mode::FullNat, |_| 0);
}

/// xlb makes its own error about the packets inside.
#[test]
fn clients_hear_of_the_way_to_ipip_backends() {
    clients_hear_of_the_way_to_backends(Mode::Ipip, |family| overhead(Way::Ipip, family));
}

#[test]
fn clients_hear_of_the_way_to_gue_backends() {
    clients_hear_of_the_way_to_backends(Mode::Gue, |family| overhead(Way::Gue, family));
}

fn overhead(way: Way, outer: Family) -> u16 {
    Tunnel::overhead(way, outer == Family::V6, false)
}

/// The balancer's own link is too narrow for a full packet in another one.
fn clients_hear_of_room_for_tunnels(mode: Mode, way: Way) {
    let topology = Topology::one_armed(network(mode)).unwrap();
    let backends = Backends::start(&topology, mode);
    for outer in Family::ALL {
        for family in Family::ALL {
            let service = Service {
                backend_family: Some(outer),
                ..web(family, mode)
            };
            // The client forgets what it was told before.
            for family in ["-4", "-6"] {
                let flush = ["ip", family, "route", "flush", "cache"];
                topology.client.namespace.run(flush).unwrap();
            }
            let xlb = start(&topology, &[service]);
            let vip = service.vip(&topology);
            pages_are_whole_both_ways(&topology, &backends.fleet, vip, TRANSFER);
            let expected = WIDE - overhead(way, outer);
            assert_eq!(clients_mtu(&topology, family), Some(expected), "{family}");
            nothing_was_dropped(&xlb);
        }
    }
    damage::assert_none(&topology).unwrap();
}

#[test]
fn clients_hear_how_much_room_ipip_leaves() {
    clients_hear_of_room_for_tunnels(Mode::Ipip, Way::Ipip);
}

#[test]
fn clients_hear_how_much_room_gue_leaves() {
    clients_hear_of_room_for_tunnels(Mode::Gue, Way::Gue);
}

/// TCP segments that both ends of a connection to a VIP send at most, the client's first.
fn segments(topology: &Topology, listener: &TcpListener, vip: SocketAddr) -> [u32; 2] {
    let client = &topology.client.namespace;
    let client = client.enter(|| TcpStream::connect(vip)).unwrap().unwrap();
    let (server, _) = listener.accept().unwrap();
    [client, server].map(|stream| SockRef::from(&stream).tcp_mss().unwrap())
}

/// What a SYN announces limits the other end. Where a SYN-ACK does not cross xlb, it announces more.
fn segments_are_limited_as_the_service_says(mode: Mode) {
    const LIMIT: u32 = 1200;
    const PORT: u16 = 7000;
    // Time stamps in every segment.
    const OPTIONS: u32 = 12;
    let topology = Topology::two_armed(network(mode)).unwrap();
    let _backends = Backends::start(&topology, mode);
    let services = Family::ALL.map(|family| Service {
        port: PORT,
        backend_port: PORT,
        probe: "none",
        weights: &[1],
        more: &["mss: 1200"],
        ..web(family, mode)
    });
    let xlb = start(&topology, &services);
    let any = SocketAddr::new(IpAddr::from([0; 16]), PORT);
    let server = &topology.backends[0].namespace;
    let listener = server.enter(|| TcpListener::bind(any)).unwrap().unwrap();
    for service in services {
        let [client, server] = segments(&topology, &listener, service.vip(&topology));
        assert_eq!(server, LIMIT - OPTIONS, "{}", service.name);
        let comes_back = matches!(mode, Mode::Nat | Mode::FullNat);
        assert_eq!(client == server, comes_back, "{}: {client}", service.name);
    }
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

#[test]
fn segments_are_limited_as_the_service_says_in_nat() {
    segments_are_limited_as_the_service_says(Mode::Nat);
}

#[test]
fn segments_are_limited_as_the_service_says_in_full_nat() {
    segments_are_limited_as_the_service_says(Mode::FullNat);
}

#[test]
fn segments_are_limited_as_the_service_says_in_l2_dsr() {
    segments_are_limited_as_the_service_says(Mode::L2Dsr);
}

#[test]
fn segments_are_limited_as_the_service_says_in_ipip() {
    segments_are_limited_as_the_service_says(Mode::Ipip);
}

#[test]
fn segments_are_limited_as_the_service_says_in_gue() {
    segments_are_limited_as_the_service_says(Mode::Gue);
}
