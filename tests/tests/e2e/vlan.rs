//! VLAN tags stay on packets that pass the balancer. Frames are made by hand: not every kernel has VLAN
//! devices.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LinkExtHeader, NetHeaders, PacketHeaders};
use lb_tests::{
    config::Service,
    packet::{UDP, packet},
    tap::Tap,
};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Link, Topology},
};

use crate::{
    backends::{names, network},
    site::{nothing_was_dropped, start},
};

/// Priority 3 and VLAN 7.
const TAG: u16 = 0x6007;

/// Of IEEE 802.1Q, and of IEEE 802.1ad.
const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;

/// A datagram from one hop to the next, behind its tags.
fn frame(
    tags: &[[u16; 2]],
    [from, to]: [&Link; 2],
    [source, destination]: [SocketAddr; 2],
) -> Vec<u8> {
    let plain = packet(source, destination, UDP, b"tagged");
    let mut frame = [to.mac, from.mac].concat();
    for [kind, tag] in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(&plain[12..]);
    frame
}

/// Who speaks to whom in a frame, and its tag but the outermost one, which the kernel has taken off it.
fn meaning(frame: &[u8]) -> Option<(IpAddr, IpAddr, Option<u16>)> {
    let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
    let tag = headers.link_exts.iter().find_map(|tag| match tag {
        LinkExtHeader::Vlan(vlan) => Some(vlan.vlan_id.value()),
        LinkExtHeader::Macsec(_) => None,
    });
    match headers.net? {
        NetHeaders::Ipv4(ip, _) => Some((ip.source.into(), ip.destination.into(), tag)),
        NetHeaders::Ipv6(ip, _) => Some((ip.source.into(), ip.destination.into(), tag)),
        NetHeaders::Arp(_) => None,
    }
}

/// Taps at the balancer's neighbours that hear only what is tagged.
struct Taps {
    router: Tap,
    backend: Tap,
}

impl Taps {
    fn open(topology: &Topology) -> Self {
        // The program cannot see a tag that is beside the frame.
        let keep = ["ethtool", "-K", "balancer", "txvlan", "off"];
        let stag = ["tx-vlan-stag-hw-insert", "off"];
        topology.switch.run([&keep[..], &stag].concat()).unwrap();
        let router = &topology.router.as_ref().unwrap().namespace;
        let backend = &topology.backends[0].namespace;
        Self {
            router: Tap::tagged(router, "back0", TAG).unwrap(),
            backend: Tap::tagged(backend, "eth0", TAG).unwrap(),
        }
    }
}

/// A datagram with these tags to a service with one backend, and the backend's answer.
fn stay_both_ways(tags: &[[u16; 2]]) {
    let inner = tags.get(1).map(|[_, tag]| *tag);
    let topology = Topology::two_armed(network(Mode::Nat)).unwrap();
    let services = Family::ALL.map(|family| Service {
        weights: &[1],
        ..names(family, Mode::Nat)
    });
    let xlb = start(&topology, &services);
    let Taps { router, backend } = Taps::open(&topology);
    let (uplink, balancer) = (&topology.router.as_ref().unwrap().back, &topology.balancer);
    for service in services {
        let family = service.family;
        let vip = service.vip(&topology);
        let server = &topology.backends[0].link;
        let own = SocketAddr::new(server.address.of(family), service.backend_port);
        let client = SocketAddr::new(topology.client.link.address.of(family), 5000);

        let asked = frame(tags, [uplink, &balancer.front], [client, vip]);
        router.send(&asked).unwrap();
        let expected = (client.ip(), own.ip(), inner);
        let asked = |frame: &[u8]| (meaning(frame)? == expected).then_some(());
        backend.find("the question, tagged", asked).unwrap();

        let answer = frame(tags, [server, &balancer.back], [own, client]);
        backend.send(&answer).unwrap();
        let expected = (vip.ip(), client.ip(), inner);
        let answered = |frame: &[u8]| (meaning(frame)? == expected).then_some(());
        router.find("the answer, tagged", answered).unwrap();
    }
    nothing_was_dropped(&xlb);
}

#[test]
fn a_tag_stays_on_question_and_answer() {
    stay_both_ways(&[[CUSTOMER, TAG]]);
}

#[test]
fn two_tags_stay_on_question_and_answer() {
    stay_both_ways(&[[SERVICE, TAG], [CUSTOMER, 8]]);
}

#[test]
fn a_tag_stays_outside_of_a_tunnel() {
    let topology = Topology::two_armed(network(Mode::Ipip)).unwrap();
    let services = Family::ALL.map(|family| Service {
        weights: &[1],
        ..names(family, Mode::Ipip)
    });
    let xlb = start(&topology, &services);
    let Taps { router, backend } = Taps::open(&topology);
    let uplink = &topology.router.as_ref().unwrap().back;
    let balancer = &topology.balancer;
    for service in services {
        let family = service.family;
        let client = SocketAddr::new(topology.client.link.address.of(family), 5000);
        let ends = [client, service.vip(&topology)];
        let asked = frame(&[[CUSTOMER, TAG]], [uplink, &balancer.front], ends);
        router.send(&asked).unwrap();
        let [from, to] = [&balancer.back, &topology.backends[0].link];
        let expected = (from.address.of(family), to.address.of(family), None);
        let asked = |frame: &[u8]| (meaning(frame)? == expected).then_some(());
        backend.find("the tunnel, tagged", asked).unwrap();
    }
    nothing_was_dropped(&xlb);
}
