//! Laws of the data path, on the host build: no root needed.
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "tests panic, so that the place is known"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::{
    AnswerReason, DropReason, PassReason, Verdict, backend::Mode, datapath::Fib, maps::Feature,
    next_hop::NextHop, route::Action,
};
use lb_tests::{
    frame::{self, Body, Frame, extension},
    image::{Image, Outcome},
    kernel::INGRESS,
    packet::{OUR_MAC, TCP, UDP},
    world::{Link, Service, World},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xb1];
const BACKEND: NextHop = NextHop::new(BACKEND_MAC, INGRESS, true);
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
const GATEWAY: NextHop = NextHop::new(GATEWAY_MAC, INGRESS, false);

/// A client, a VIP and a backend of one family.
#[derive(Clone, Copy, Debug)]
struct Trio {
    client: SocketAddr,
    vip: SocketAddr,
    backend: SocketAddr,
}

impl Trio {
    fn image(self, protocol: u8) -> Image {
        let backends = vec![(self.backend, BACKEND)];
        world(vec![Service::new(self.vip, protocol, backends, 4)]).image()
    }
}

/// The balancer in front of some services, with a default gateway for clients.
fn world(services: Vec<Service>) -> World {
    World {
        interfaces: vec![(INGRESS, OUR_MAC, true)],
        services,
        local: Vec::new(),
        routes: vec![
            (Ipv4Addr::UNSPECIFIED.into(), 0, Action::NextHop, GATEWAY),
            (Ipv6Addr::UNSPECIFIED.into(), 0, Action::NextHop, GATEWAY),
        ],
        hash_key: [0x0f1e_2d3c_4b5a_6978, 0x8796_a5b4_c3d2_e1f0],
        ..World::default()
    }
}

/// An address that may send.
fn address(v6: bool) -> BoxedStrategy<SocketAddr> {
    let ip = if v6 {
        any::<[u8; 16]>()
            .prop_filter("nobody", |octets| octets[..8] != [0; 8])
            .prop_filter("a group", |[first, ..]| *first != 0xff)
            .prop_map(IpAddr::from)
            .boxed()
    } else {
        any::<[u8; 4]>()
            .prop_filter("nobody, or a group", |[first, ..]| (1..224).contains(first))
            .prop_filter("loopback", |[first, ..]| *first != 127)
            .prop_map(IpAddr::from)
            .boxed()
    };
    (ip, any::<u16>()).prop_map(SocketAddr::from).boxed()
}

fn trio() -> impl Strategy<Value = Trio> {
    any::<bool>()
        .prop_flat_map(|v6| (address(v6), address(v6), address(v6)))
        .prop_filter("one address twice", |(client, vip, backend)| {
            client.ip() != vip.ip() && vip.ip() != backend.ip() && backend.ip() != client.ip()
        })
        .prop_map(|(client, vip, backend)| Trio {
            client,
            vip,
            backend,
        })
}

/// A client's sound packet, and who is in it.
fn request() -> impl Strategy<Value = (Trio, Frame)> {
    let headers = (0..11usize, 0..5usize, vec(0..4u8, 0..5), any::<u8>());
    let body = select(vec![Body::of(TCP), Body::of(UDP), Body::Udp(false)]);
    let trio_and_body = (trio(), body).prop_filter("IPv6 insists on a checksum", |(trio, body)| {
        !trio.vip.is_ipv6() || *body != Body::Udp(false)
    });
    (trio_and_body, vec(any::<u8>(), 0..64), 2..=255u8, headers).prop_map(
        |((trio, body), payload, hops, (options, padding, extensions, class))| {
            let frame = Frame {
                body,
                payload,
                hops,
                class,
                options: vec![1; 4 * options],
                padding: vec![0; padding],
                extensions: extensions
                    .into_iter()
                    .map(|units| extension(60, units))
                    .collect(),
                ..Frame::new(TCP, trio.client, trio.vip)
            };
            // Four extension headers are followed.
            let extensions = frame.extensions.iter().take(4).cloned().collect();
            (
                trio,
                Frame {
                    extensions,
                    ..frame
                },
            )
        },
    )
}

fn run(image: &Image, frame: &[u8]) -> Outcome {
    image.run(INGRESS, frame)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_out_is_what_a_sender_would_have_formed((trio, frame) in request()) {
        let outcome = run(&trio.image(frame.body.protocol()), &frame.bytes());
        let afresh = Frame {
            to: BACKEND_MAC,
            from: OUR_MAC,
            destination: trio.backend,
            hops: frame.hops - 1,
            ..frame
        };
        prop_assert_eq!(outcome.verdict, Verdict::Transmit);
        prop_assert_eq!(outcome.frame, afresh.bytes());
    }

    #[test]
    fn the_answer_to_what_went_out_is_the_vip_s_to_the_client((trio, frame) in request()) {
        let image = trio.image(frame.body.protocol());
        let answer = Frame {
            from: BACKEND_MAC,
            source: trio.backend,
            destination: trio.client,
            ..frame
        };
        let outcome = run(&image, &answer.bytes());
        let seen = Frame {
            to: GATEWAY_MAC,
            from: OUR_MAC,
            source: trio.vip,
            hops: answer.hops - 1,
            ..answer
        };
        prop_assert_eq!(outcome.verdict, Verdict::Transmit);
        prop_assert_eq!(outcome.frame, seen.bytes());
    }

    #[test]
    fn a_datagram_without_a_checksum_gets_none_and_no_other_loses_its_own((trio, frame) in request()) {
        prop_assume!(frame.body.protocol() == UDP);
        let checksum = frame.bytes().len() - frame.padding.len() - frame.payload.len() - 2;
        let absent = frame.body == Body::Udp(false);
        let outcome = run(&trio.image(UDP), &frame.bytes());
        prop_assert_eq!(outcome.frame[checksum..checksum + 2] == [0, 0], absent);
    }

    #[test]
    fn hops_run_out_at_one((trio, frame) in request(), hops in 0..2u8) {
        let bytes = Frame { hops, ..frame.clone() }.bytes();
        let outcome = run(&trio.image(frame.body.protocol()), &bytes);
        prop_assert_eq!(outcome.verdict, Verdict::Drop(DropReason::TtlExpired));
        prop_assert_eq!(outcome.frame, bytes);
    }

    #[test]
    fn every_truncation_passes_untouched((trio, frame) in request()) {
        let image = trio.image(frame.body.protocol());
        let bytes = frame.bytes();
        for len in 0..bytes.len() - frame.padding.len() {
            let outcome = run(&image, &bytes[..len]);
            prop_assert_eq!(outcome.verdict, Verdict::Pass(PassReason::Malformed), "{} bytes", len);
            prop_assert_eq!(&outcome.frame, &bytes[..len]);
        }
    }

    #[test]
    fn any_bytes_are_survived_and_untouched_unless_sent(
        (trio, frame) in request(),
        damage in vec((any::<Index>(), any::<u8>()), 0..8),
        tail in vec(any::<u8>(), 0..32),
        len in any::<Index>(),
    ) {
        let mut bytes = frame.bytes();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        bytes.extend(tail);
        bytes.truncate(len.index(2 * bytes.len()));
        let outcome = run(&trio.image(frame.body.protocol()), &bytes);
        prop_assert_eq!(outcome.frame.len(), bytes.len());
        if !matches!(outcome.verdict, Verdict::Transmit | Verdict::Redirect(_)) {
            prop_assert_eq!(outcome.frame, bytes);
        }
    }

    #[test]
    fn random_bytes_behind_our_address_are_survived(
        ether_type in select(vec![[8, 0], [0x86, 0xdd]]),
        rest in vec(any::<u8>(), 0..128),
        (trio, frame) in request(),
    ) {
        let bytes = [&OUR_MAC[..], &BACKEND_MAC, &ether_type, &rest].concat();
        let outcome = run(&trio.image(frame.body.protocol()), &bytes);
        prop_assert_eq!(outcome.frame, bytes);
    }
}

/// Flows in a row, as one client opens them, or many clients one each.
fn flows(v6: bool, protocol: u8) -> impl Iterator<Item = Frame> {
    let vip = vip(v6, 80);
    (0..30_000u16).map(move |n| {
        let (host, port) = if n % 2 == 0 { (7, n) } else { (n, 40_000) };
        Frame::new(protocol, SocketAddr::new(client(v6, host), port), vip)
    })
}

fn client(v6: bool, host: u16) -> IpAddr {
    let [a, b] = host.to_be_bytes();
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, host).into()
    } else {
        Ipv4Addr::new(10, 2, a, b).into()
    }
}

fn vip(v6: bool, port: u16) -> SocketAddr {
    if v6 {
        (Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1), port).into()
    } else {
        (Ipv4Addr::new(203, 0, 113, 10), port).into()
    }
}

fn backends(v6: bool, count: u16) -> Vec<(SocketAddr, NextHop)> {
    let address = |n: u16| -> IpAddr {
        if v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, n).into()
        } else {
            let [a, b] = n.to_be_bytes();
            Ipv4Addr::new(10, 1, a, b).into()
        }
    };
    (0..count)
        .map(|n| (SocketAddr::new(address(n), 8080), BACKEND))
        .collect()
}

/// The pair that each flow goes to.
fn placement(v6: bool, protocol: u8, count: u16, hash_key: [u64; 2]) -> Vec<u32> {
    let service = Service::new(vip(v6, 80), protocol, backends(v6, count), 16);
    let image = World {
        hash_key,
        ..world(vec![service])
    }
    .image();
    flows(v6, protocol)
        .map(|frame| run(&image, &frame.bytes()).counted[0].0)
        .collect()
}

/// The figure for 3 backends; for 100, five standard deviations of chance.
#[test]
fn flows_spread_evenly() {
    for (v6, protocol) in [(false, TCP), (false, UDP), (true, TCP), (true, UDP)] {
        for (backends, tolerance) in [(3u16, 500.0), (100, 87.0)] {
            let mut loads = BTreeMap::<u32, u32>::new();
            for pair in placement(v6, protocol, backends, [0x1357_9bdf, 0x0246_8ace]) {
                *loads.entry(pair).or_default() += 1;
            }
            let fair = 30_000.0 / f64::from(backends);
            assert_eq!(loads.len(), usize::from(backends));
            for (pair, load) in loads {
                let off = (f64::from(load) - fair).abs();
                assert!(
                    off < tolerance,
                    "pair {pair} of {backends}: {load} flows, {fair} are fair"
                );
            }
        }
    }
}

#[test]
fn a_flow_stays_where_it_is_and_a_key_places_anew() {
    let keys = [[1, 2], [1, 3], [3, 2], [u64::MAX, 0]];
    for v6 in [false, true] {
        let first = placement(v6, TCP, 100, keys[0]);
        assert_eq!(first, placement(v6, TCP, 100, keys[0]));
        for key in &keys[1..] {
            let other = placement(v6, TCP, 100, *key);
            let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(
                same < 600,
                "{same} of 30,000 flows in place, 300 are expected"
            );
        }
    }
}

/// Many services and backends, so that sets are shared, and addresses that differ in few bits.
#[test]
fn the_directory_finds_each_service_and_nothing_else() {
    for v6 in [false, true] {
        let services: Vec<Service> = (1..300)
            .flat_map(|port| [TCP, UDP].map(|protocol| (port, protocol)))
            .map(|(port, protocol)| Service::new(vip(v6, port), protocol, backends(v6, 1), 4))
            .collect();
        let image = world(services.clone()).image();
        let mut pairs = BTreeSet::new();
        for service in &services {
            let client = SocketAddr::new(client(v6, 1), 1);
            let frame = Frame::new(service.protocol, client, service.vip);
            let outcome = run(&image, &frame.bytes());
            assert_eq!(outcome.verdict, Verdict::Transmit, "{}", service.vip);
            assert!(pairs.insert(outcome.counted[0].0), "{}", service.vip);
        }
        for port in [0, 300, 1 << 8 << 7] {
            let frame = Frame::new(TCP, SocketAddr::new(client(v6, 1), 1), vip(v6, port));
            let outcome = run(&image, &frame.bytes());
            assert_eq!(
                outcome.verdict,
                Verdict::Drop(DropReason::NoSuchPort),
                "{port}"
            );
        }
    }
}

/// RFC 1071: the sum over all that a checksum covers, itself included, is all ones.
#[test]
fn the_answer_to_every_ping_is_summed_right() {
    for v6 in [false, true] {
        let vip = vip(v6, 80);
        let service = Service::new(vip, TCP, backends(v6, 1), 4);
        let image = World {
            features: Feature::Echo as u32,
            ..world(vec![service])
        }
        .image();
        for identifier in 0..=u16::MAX {
            let ping = Frame {
                payload: Vec::new(),
                ..Frame::echo(client(v6, 7), vip.ip(), identifier, 0)
            };
            let outcome = run(&image, &ping.bytes());
            assert_eq!(outcome.verdict, AnswerReason::Echo.into());
            let reply = &outcome.frame[14..];
            let covered = if v6 {
                let (header, message) = reply.split_at(40);
                let length = [0, message.len() as u8, 0, 58];
                [&header[8..], &length, message].concat()
            } else {
                reply[20..].to_vec()
            };
            assert_eq!(frame::sum(&covered), 0xffff, "identifier {identifier}");
        }
    }
}

/// The kernel's test runner always leaves room; a driver may not.
#[test]
fn a_frame_without_room_before_it_is_not_encapsulated() {
    let vip = SocketAddr::from(([203, 0, 113, 10], 80));
    let backends = vec![(SocketAddr::from(([10, 0, 0, 11], 80)), BACKEND)];
    let service = Service {
        links: vec![Link {
            mode: Mode::Ipip,
            source: [10, 7, 0, 1].into(),
            ..Link::NAT
        }],
        ..Service::new(vip, TCP, backends, 4)
    };
    let image = world(vec![service]).image();
    let client = SocketAddr::from(([198, 51, 100, 7], 40000));
    let frame = Frame::new(TCP, client, vip).bytes();
    let host = image.host(Fib::Unroutable);
    let run = |room| host.run_in(room, INGRESS, &frame).verdict;
    assert_eq!(run(20), Verdict::Transmit);
    assert_eq!(run(19), DropReason::NoHeadroom.into());
}
