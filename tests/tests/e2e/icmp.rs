//! ICMP and ICMPv6: ping and traceroute ask a VIP itself, and errors find the end that they are about.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
};

use lb_tests::{
    config::{self, Service},
    damage,
    direct::own,
    fleet::Fleet,
    icmp::{End, Ping, trace},
    load::{ask_udp, udp},
    packet::{UDP, packet},
    tap::Tap,
    wait::eventually,
};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Host, Namespace, Topology},
};

use crate::{
    backends::{Backends, names, network},
    page::sample,
    site::{SOON, nothing_was_dropped, routed, start, start_with},
};
/// Requests of several lengths, none of them a fragment.
fn answers(from: &Namespace, to: IpAddr) {
    let mut ping = Ping::new(from, to).unwrap();
    for length in [0, 1, 56, 1001, 1400] {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        ping.ask(&bytes)
            .unwrap_or_else(|error| panic!("{to}, {length} bytes: {error}"));
    }
}

/// Echo requests that the kernel of a host has got.
fn heard(host: &Namespace) -> u64 {
    let counters = damage::counters(host).unwrap();
    counters["IcmpInEchos"] + counters["Icmp6InEchos"]
}

fn services() -> [Service<'static>; 2] {
    Family::ALL.map(|family| names(family, Mode::Nat))
}

#[test]
fn a_vip_answers_ping_itself() {
    for topology in [Topology::one_armed, Topology::two_armed] {
        let topology = topology(routed()).unwrap();
        let xlb = start(&topology, &services());
        for family in Family::ALL {
            answers(&topology.client.namespace, topology.vip.of(family));
        }
        assert_eq!(heard(&topology.balancer.namespace), 0);
        let answered = "xlb_answered_packets_total{reason=\"echo\"}";
        assert_eq!(sample(&xlb, answered), 10);
        damage::assert_none(&topology).unwrap();
        nothing_was_dropped(&xlb);
    }
}

/// The VIP is an address of the host, whose kernel answers.
#[test]
fn ping_is_left_to_the_kernel_where_the_file_says_so() {
    let topology = Topology::two_armed(routed()).unwrap();
    let balancer = &topology.balancer.namespace;
    let vips = Family::ALL.map(|family| topology.vip.of(family));
    own(balancer, &vips).unwrap();
    let file = config::yaml(&topology, &services());
    let xlb = start_with(&topology, &format!("icmp: {{ echo: pass }}\n{file}"));
    let before = heard(balancer);
    for vip in vips {
        answers(&topology.client.namespace, vip);
    }
    assert_eq!(heard(balancer) - before, 10);
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

/// Other addresses of the host are no VIPs: the kernel answers for them.
#[test]
fn the_balancers_own_addresses_are_the_kernels_to_answer_for() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _xlb = start(&topology, &services());
    let balancer = &topology.balancer;
    let before = heard(&balancer.namespace);
    for family in Family::ALL {
        let address = balancer.front.address.of(family);
        answers(&topology.client.namespace, address);
    }
    assert_eq!(heard(&balancer.namespace) - before, 10);
}

#[test]
fn a_route_is_traced_through_the_vip_to_the_backend() {
    for topology in [Topology::one_armed, Topology::two_armed] {
        let topology = topology(routed()).unwrap();
        let _fleet = Fleet::start(&topology).unwrap();
        let _xlb = start(&topology, &services());
        let router = topology.router.as_ref().unwrap();
        for service in services() {
            let family = service.family;
            let vip: SocketAddr = service.vip(&topology);
            let hop = |hops| trace(&topology.client.namespace, vip, hops).unwrap();
            assert_eq!(hop(1), End::Exceeded(router.front.address.of(family)));
            assert_eq!(hop(2), End::Exceeded(vip.ip()));
            let End::Answered(answer) = hop(3) else {
                panic!("nobody answers at {vip}");
            };
            assert!(answer.ends_with(b" who?"), "{answer:?}");
        }
        damage::assert_none(&topology).unwrap();
    }
}

/// A service with no server behind it.
const fn closed(family: Family, mode: Mode) -> Service<'static> {
    let name = match family {
        Family::V4 => "closed4",
        Family::V6 => "closed6",
    };
    Service {
        name,
        port: 9,
        backend_port: 9,
        ..names(family, mode)
    }
}

/// Errors that backends have been told of.
fn told(topology: &Topology) -> u64 {
    let told = |host: &Host| {
        let counters = damage::counters(&host.namespace).unwrap();
        counters["IcmpInDestUnreachs"] + counters["Icmp6InDestUnreachs"]
    };
    topology.backends.iter().map(told).sum()
}

/// A backend says that nobody listens, and so does a client.
fn unreachable_ports_are_told_to_both_ends(mode: Mode) {
    let topology = Topology::two_armed(network(mode)).unwrap();
    let _backends = Backends::start(&topology, mode);
    let both = Family::ALL.map(|family| [names(family, mode), closed(family, mode)]);
    let xlb = start(&topology, both.as_flattened());
    let Host { namespace, link } = &topology.client;
    let tap = Tap::open(namespace, &link.interface).unwrap();
    let gateway = topology.router.as_ref().unwrap().front.mac;
    for [open, closed] in both {
        let ask = || ask_udp(&udp(closed.vip(&topology))?, b"who?");
        let refused = namespace.enter(ask).unwrap().unwrap_err();
        assert_eq!(
            refused.kind(),
            ErrorKind::ConnectionRefused,
            "{}",
            closed.name
        );

        // No socket of the client's waits for the answer.
        let before = told(&topology);
        let client = SocketAddr::new(link.address.of(open.family), 5000);
        let mut question = packet(client, open.vip(&topology), UDP, b"who?");
        question[..6].copy_from_slice(&gateway);
        tap.send(&question).unwrap();
        let heard = || (told(&topology) > before).then_some(());
        eventually("a backend hears of it", SOON, heard).unwrap();
    }
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

#[test]
fn unreachable_ports_are_told_to_both_ends_in_nat() {
    unreachable_ports_are_told_to_both_ends(Mode::Nat);
}

#[test]
fn unreachable_ports_are_told_to_both_ends_in_full_nat() {
    unreachable_ports_are_told_to_both_ends(Mode::FullNat);
}

#[test]
fn unreachable_ports_are_told_to_both_ends_in_l2_dsr() {
    unreachable_ports_are_told_to_both_ends(Mode::L2Dsr);
}

#[test]
fn unreachable_ports_are_told_to_both_ends_in_ipip() {
    unreachable_ports_are_told_to_both_ends(Mode::Ipip);
}

#[test]
fn unreachable_ports_are_told_to_both_ends_in_gue() {
    unreachable_ports_are_told_to_both_ends(Mode::Gue);
}
