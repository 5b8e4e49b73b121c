//! Backends that are clients of their own VIP.

use std::{io, net::SocketAddr};

use lb_tests::{
    config::Service,
    damage,
    fleet::Fleet,
    load::{Connection, ask_udp, udp},
};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Host, Options, Topology},
};

use crate::{
    backends::{Backends, Servers, first, names, network, web},
    page::dropped,
    site::{nothing_was_dropped, send, start},
};

/// Who serves a backend that opens connections and sends datagrams to VIPs.
fn served(host: &Host, web: SocketAddr, names: SocketAddr) -> io::Result<Servers> {
    let ask = |number| match number % 2 {
        0 => Connection::open(web).map(|connection| connection.name),
        _ => ask_udp(&udp(names)?, b"who?"),
    };
    let ask = || (0..60).map(ask).collect();
    host.namespace.enter(ask).unwrap()
}

/// Services of a mode on backends with these weights.
fn services(mode: Mode, weights: &[u16]) -> Vec<Service<'_>> {
    let both = Family::ALL.map(|family| [web(family, mode), names(family, mode)]);
    let both = both.as_flattened().iter();
    both.map(|service| Service {
        weights,
        ..*service
    })
    .collect()
}

/// As neighbours of the balancer they are clients on the link, of whom its kernel must know.
#[test]
fn full_nat_serves_every_backend_as_a_client() {
    let topology = Topology::two_armed(Options {
        forward: true,
        ..network(Mode::FullNat)
    })
    .unwrap();
    let _backends = Backends::start(&topology, Mode::FullNat);
    let services = services(Mode::FullNat, &[1, 1, 1]);
    let xlb = start(&topology, &services);
    for [web, names] in services.as_chunks().0 {
        for host in &topology.backends {
            let [web, names] = [web, names].map(|service| service.vip(&topology));
            assert_eq!(served(host, web, names).unwrap(), first(3));
        }
    }
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

/// A backend behind the router is a client of those on the link: their replies cross xlb.
#[test]
fn nat_serves_a_backend_whose_replies_cross_the_balancer() {
    let topology = Topology::two_armed(network(Mode::Nat)).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let services = services(Mode::Nat, &[1, 1]);
    let xlb = start(&topology, &services);
    for [web, names] in services.as_chunks().0 {
        let [web, names] = [web, names].map(|service| service.vip(&topology));
        let served = served(&topology.backends[2], web, names);
        assert_eq!(served.unwrap(), first(2));
    }
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

#[test]
fn nat_refuses_a_backend_that_is_sent_to_itself() {
    let topology = Topology::two_armed(network(Mode::Nat)).unwrap();
    let services = Family::ALL.map(|family| Service {
        weights: &[1],
        ..names(family, Mode::Nat)
    });
    let xlb = start(&topology, &services);
    let host = &topology.backends[0];
    for (families, service) in (1..).zip(&services) {
        let own = SocketAddr::new(host.link.address.of(service.family), 40_000);
        send(&host.namespace, own, service.vip(&topology), 5);
        assert_eq!(dropped(&xlb, "hairpin"), 5 * families);
    }
}
