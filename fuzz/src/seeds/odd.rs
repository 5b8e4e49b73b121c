//! What rarely happens.

use std::net::SocketAddr;

use lb_common::backend::Mode;
use lb_tests::{
    frame::{Body, Frame, extension},
    packet::TCP,
    world::Service,
};

use super::{REPLY, SOUND, Story, client, error, fragments, request, sock, syn, turned};
use crate::input::Arrival;

/// Genuine frames of a backend.
const GENUINE: u8 = SOUND | Arrival::GENUINE;
/// They come in where clients are.
const AMONG_CLIENTS: u8 = GENUINE | Arrival::INTERFACE;
/// The kernel's forwarding table has no way, or one that it must resolve.
const UNROUTABLE: u8 = 0;
const UNRESOLVED: u8 = 2;

/// What happens to a service, and what the kernel's forwarding table says meanwhile.
pub(super) fn stories(service: &Service) -> Vec<(u8, Story)> {
    let mut stories = of_clients(service);
    stories.extend(of_backends(service));
    stories.push((UNROUTABLE, once_wrong(&request(service))));
    stories
}

fn of_clients(service: &Service) -> Vec<(u8, Story)> {
    let ask = request(service);
    let v6 = service.vip.is_ipv6();
    let plain = |frame: &Frame| (SOUND, frame.bytes());
    let from = |source: SocketAddr| Frame {
        source,
        ..ask.clone()
    };
    let to_port = |port: u16| {
        let mut other = ask.clone();
        other.destination.set_port(port);
        plain(&other)
    };
    let far = from(sock(if v6 {
        "[2001:db8:c:8000::7]:40000"
    } else {
        "198.51.100.200:40000"
    }));
    let crowd = (0..12).map(|n| {
        let mut client = client(v6);
        client.set_port(50_000 + n);
        plain(&from(client))
    });
    let opening = (0..12).map(|n| {
        let mut client = client(v6);
        client.set_port(51_000 + n);
        plain(&syn(&from(client)))
    });
    let cut = ask.bytes()[..40].to_vec();
    let answer = (REPLY, Vec::new());
    let stories = [
        vec![plain(&far), answer],
        crowd.collect(),
        opening.collect(),
        vec![(
            0,
            Frame {
                to: [2; 6],
                ..ask.clone()
            }
            .bytes(),
        )],
        vec![(Arrival::OURS, cut)],
        vec![to_port(9999), to_port(service.vip.port() + 3)],
        vec![plain(&from(service.vip))],
        other_fragments(&ask),
        vec![plain(&many_extensions(&ask))],
    ];
    stories.map(|story| (UNROUTABLE, story)).into()
}

/// What was a finding once.
fn once_wrong(ask: &Frame) -> Story {
    let (header, group) = if ask.source.is_ipv6() {
        (40, "[ff02::1]:0")
    } else {
        (20, "224.0.0.1:0")
    };
    let transport = 14 + header;
    // A datagram that ends before its packet.
    let short = ask.clone().edited(transport + 4, &[0, 12]);
    // A SYN with more options than the packet has bytes.
    let long = super::syn(ask).edited(transport + 12, &[0xf0]);
    let mut from_a_group = error(&turned(ask));
    from_a_group.source = sock(group);
    let tagged = Frame {
        tags: vec![5, 7],
        ..ask.clone()
    };
    vec![
        (SOUND, short.bytes()),
        (SOUND, long.bytes()),
        (SOUND, from_a_group.bytes()),
        (0, tagged.bytes()[..20].to_vec()),
    ]
}

/// Fragments that cannot be balanced.
fn other_fragments(ask: &Frame) -> Story {
    let mut ping = ask.clone();
    ping.body = Body::Other(if ask.source.is_ipv6() { 58 } else { 1 });
    fragments(&ping)
}

fn many_extensions(ask: &Frame) -> Frame {
    let mut many = ask.clone();
    if ask.source.is_ipv6() {
        many.extensions = vec![extension(60, 0); 9];
    }
    many
}

fn of_backends(service: &Service) -> Vec<(u8, Story)> {
    let Some((backend, _)) = service.backends.first() else {
        return Vec::new();
    };
    let mut stories = vec![(UNROUTABLE, vec![(SOUND, tunnel_error(service).bytes())])];
    if backend.is_ipv6() != service.vip.is_ipv6() {
        return stories;
    }
    let v6 = backend.is_ipv6();
    let says = |to: SocketAddr| Frame::new(service.protocol, *backend, to).bytes();
    let [host, direct, neighbour] = if v6 {
        [
            "[2001:db8:1::1]:99",
            "[2001:db8:d::9]:99",
            "[2001:db8:1::99]:99",
        ]
    } else {
        ["10.0.0.1:99", "192.0.2.9:99", "10.0.0.98:99"]
    }
    .map(sock);
    let mut vip = service.vip;
    vip.set_port(9999);
    let to_backend = Frame::new(service.protocol, client(v6), *backend);
    for to in [client(v6), host, direct, neighbour, vip] {
        stories.push((
            UNROUTABLE,
            vec![(GENUINE, says(to)), (AMONG_CLIENTS, says(to))],
        ));
        stories.push((UNRESOLVED, vec![(GENUINE, says(to)), (SOUND, says(to))]));
    }
    stories.push((UNROUTABLE, vec![(SOUND, error(&to_backend).bytes())]));
    stories.push((UNROUTABLE, hairpin(service)));
    stories.push((UNROUTABLE, look_alikes(service)));
    stories
}

/// A router says that a packet of a tunnel of xlb's own is too long.
fn tunnel_error(service: &Service) -> Frame {
    let (Some((backend, _)), Some(link)) = (service.backends.first(), service.links.first()) else {
        return request(service);
    };
    if link.source.is_ipv6() != backend.is_ipv6() {
        return request(service);
    }
    let protocol = match link.mode {
        Mode::Gue => 17,
        _ => 41,
    };
    let source = SocketAddr::new(link.source, 50_000);
    error(&Frame::new(protocol, source, *backend))
}

/// A backend asks for its own service, from several ports: one of them leads to itself.
fn hairpin(service: &Service) -> Story {
    let asks = (0..12).map(|n| {
        let mut source = service.backends[0].0;
        source.set_port(50_000 + n);
        let ask = Frame::new(service.protocol, source, service.vip);
        (GENUINE, ask.bytes())
    });
    asks.collect()
}

/// A client's flows with the same ports to services that may share a backend.
fn look_alikes(service: &Service) -> Story {
    let vips = [93, 92, 10, 90, 91].map(|last| format!("203.0.113.{last}:80"));
    let asks = vips.map(|vip| Frame::new(TCP, client(false), sock(&vip)).bytes());
    let first = request(service).bytes();
    let all = [first].into_iter().chain(asks);
    all.map(|ask| (SOUND, ask)).collect()
}
