//! What the data path remembers from packet to packet, on the host build, where time is the test's: no
//! root needed.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests panic, so that the place is known"
)]

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::{
    AnswerReason, DropReason, Verdict,
    backend::Mode,
    datapath::Fib,
    flow::{Flow, Side},
    next_hop::NextHop,
    route::Action,
};
use lb_tests::{
    frame::{Body, Complaint, Frame, TcpHeader},
    image::{Host, Image, Outcome},
    kernel::INGRESS,
    packet::{OUR_MAC, TCP, UDP},
    world::{Link, Service, World, pool},
};
use proptest::prelude::*;

const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xb1];
const BACKEND: NextHop = NextHop::new(BACKEND_MAC, INGRESS, true);
const GATEWAY: NextHop = NextHop::new([2, 0, 0, 0, 0, 0xc1], INGRESS, false);
const SECOND_NS: u64 = 1_000_000_000;
/// Places of the pool, for each backend.
const PLACES: u16 = 64;

fn vip(v6: bool) -> SocketAddr {
    if v6 {
        (Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1), 80).into()
    } else {
        (Ipv4Addr::new(203, 0, 113, 10), 80).into()
    }
}

fn client(v6: bool, host: u16, port: u16) -> SocketAddr {
    let [a, b] = host.to_be_bytes();
    if v6 {
        (Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, host), port).into()
    } else {
        (Ipv4Addr::new(10, 2, a, b), port).into()
    }
}

fn backend(v6: bool, n: u8) -> SocketAddr {
    if v6 {
        (Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, n.into()), 8080).into()
    } else {
        (Ipv4Addr::new(10, 1, 0, n), 8080).into()
    }
}

/// A service with two backends.
fn world(v6: bool, protocol: u8, mode: Mode) -> World {
    let backends = [1, 2].map(|n| (backend(v6, n), BACKEND)).to_vec();
    let link = Link { mode, ..Link::NAT };
    let sources = [3, 4].map(|n| backend(v6, n).ip());
    World {
        interfaces: vec![(INGRESS, OUR_MAC, true)],
        services: vec![Service {
            links: vec![link; 2],
            ..Service::new(vip(v6), protocol, backends, 4)
        }],
        pools: vec![pool(&sources, 50_000, PLACES / 2)],
        routes: vec![
            (Ipv4Addr::UNSPECIFIED.into(), 0, Action::NextHop, GATEWAY),
            (Ipv6Addr::UNSPECIFIED.into(), 0, Action::NextHop, GATEWAY),
        ],
        hash_key: [0x0f1e_2d3c_4b5a_6978, 0x8796_a5b4_c3d2_e1f0],
        clock: 100,
        ..World::default()
    }
}

fn host(image: &Image) -> Host<'_> {
    image.host(Fib::Unroutable)
}

fn run(host: &Host<'_>, frame: &Frame) -> Outcome {
    host.run(INGRESS, &frame.bytes())
}

/// A TCP packet with these flags.
fn tcp(frame: &Frame, set: impl Fn(&mut TcpHeader)) -> Frame {
    let mut header = TcpHeader::new(0, 0, 1, 1000);
    set(&mut header);
    Frame {
        body: Body::Tcp(header),
        ..frame.clone()
    }
}

/// Sender and receiver of a frame with a plain IP header.
fn ends(frame: &[u8], v6: bool) -> (SocketAddr, SocketAddr) {
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    if v6 {
        let address = |at: usize| -> [u8; 16] { frame[at..at + 16].try_into().expect("a length") };
        let (source, destination) = (address(22), address(38));
        ((source, port(54)).into(), (destination, port(56)).into())
    } else {
        let address = |at: usize| -> [u8; 4] { frame[at..at + 4].try_into().expect("a length") };
        let (source, destination) = (address(26), address(30));
        ((source, port(34)).into(), (destination, port(36)).into())
    }
}

#[test]
fn later_fragments_are_waited_for_half_a_minute() {
    for v6 in [false, true] {
        for mode in [Mode::Nat, Mode::L2Dsr, Mode::FullNat] {
            let image = world(v6, UDP, mode).image();
            let host = host(&image);
            let whole = Frame {
                payload: vec![0; 64],
                ..Frame::new(UDP, client(v6, 1, 1), vip(v6))
            };
            let pieces = whole.pieces(&[48]);
            let start = host.now_ns.get();
            let at = |ns| {
                host.now_ns.set(start + ns);
                run(&host, &pieces[1]).verdict
            };
            assert_eq!(run(&host, &pieces[0]).verdict, Verdict::Transmit);
            assert_eq!(at(0), Verdict::Transmit);
            assert_eq!(at(30 * SECOND_NS - 1), Verdict::Transmit);
            assert_eq!(at(30 * SECOND_NS), DropReason::FragmentEarly.into());
            // The first one again: the identification is another packet's.
            assert_eq!(run(&host, &pieces[0]).verdict, Verdict::Transmit);
            assert_eq!(at(40 * SECOND_NS), Verdict::Transmit);
        }
    }
}

#[test]
fn a_ration_of_errors_is_filled_up_as_time_goes_by() {
    let image = World {
        icmp_rate: 5,
        ..world(false, TCP, Mode::Nat)
    }
    .image();
    let host = host(&image);
    let expired = Frame {
        hops: 1,
        ..Frame::new(TCP, client(false, 1, 1), vip(false))
    };
    let start = host.now_ns.get();
    let answers = |ns, tries: usize| {
        host.now_ns.set(start + ns);
        let outcomes = (0..tries).map(|_| run(&host, &expired).verdict);
        let told = AnswerReason::TimeExceeded.into();
        outcomes.filter(|verdict| *verdict == told).count()
    };
    assert_eq!(answers(0, 100), 5);
    assert_eq!(answers(SECOND_NS / 5 - 1, 100), 0);
    assert_eq!(answers(SECOND_NS / 5, 100), 1);
    assert_eq!(answers(SECOND_NS, 100), 4);
    assert_eq!(answers(3600 * SECOND_NS, 100), 5);
}

#[test]
fn ends_of_connections_leave_marks_in_both_directions() {
    for v6 in [false, true] {
        let image = world(v6, TCP, Mode::FullNat).image();
        let host = host(&image);
        let request = Frame::new(TCP, client(v6, 1, 1), vip(v6));
        let marks = |side: Side| {
            let flows = host.flows();
            let mut flows = flows.iter().filter(|(key, _)| key.is_of(side));
            flows.next().expect("the flow").1.marks
        };
        let syn = tcp(&request, |tcp| tcp.syn = true);
        let sent = run(&host, &syn);
        let (place, at) = ends(&sent.frame, v6);
        let reply = Frame {
            from: BACKEND_MAC,
            ..Frame::new(TCP, at, place)
        };
        assert_eq!((marks(Side::Client), marks(Side::Backend)), (2, 0));
        run_well(&host, &tcp(&reply, |tcp| (tcp.syn, tcp.ack) = (true, true)));
        run_well(
            &host,
            &tcp(&request, |tcp| (tcp.fin, tcp.ack) = (true, true)),
        );
        assert_ne!(marks(Side::Client) & Flow::CLOSING, 0);
        assert_eq!(marks(Side::Backend) & Flow::CLOSING, 0);
        run_well(&host, &tcp(&reply, |tcp| tcp.rst = true));
        assert_ne!(marks(Side::Backend) & Flow::CLOSING, 0);
        // A forger's FIN ends nothing: packets go on. A SYN opens again.
        run_well(&host, &tcp(&request, |tcp| tcp.ack = true));
        assert_ne!(marks(Side::Client) & Flow::CLOSING, 0);
        run_well(&host, &syn);
        assert_eq!(marks(Side::Client), Flow::OPENING);
    }
}

fn run_well(host: &Host<'_>, frame: &Frame) {
    assert_eq!(run(host, frame).verdict, Verdict::Transmit);
}

#[test]
fn packets_refresh_their_own_direction_and_errors_none() {
    for v6 in [false, true] {
        let mut world = world(v6, UDP, Mode::FullNat);
        let images = [100, 200, 300, 400].map(|clock| {
            world.clock = clock;
            world.image()
        });
        let request = Frame::new(UDP, client(v6, 1, 1), vip(v6));
        let seen = |host: &Host<'_>| {
            let flows = host.flows();
            let of = |side: Side| {
                let mut flows = flows.iter().filter(|(key, _)| key.is_of(side));
                flows.next().expect("the flow").1.seen
            };
            (of(Side::Client), of(Side::Backend))
        };
        let host = host(&images[0]);
        let (place, at) = ends(&run(&host, &request).frame, v6);
        assert_eq!(seen(&host), (100, 0));
        let host = host.over(&images[1]);
        let reply = Frame {
            from: BACKEND_MAC,
            ..Frame::new(UDP, at, place)
        };
        run_well(&host, &reply);
        assert_eq!(seen(&host), (100, 200));
        let host = host.over(&images[2]);
        let about = Frame::new(UDP, vip(v6), request.source);
        let error = about.error(Complaint::PortUnreachable, request.source.ip(), 8);
        run_well(&host, &error);
        let about = Frame::new(UDP, place, at);
        let error = Frame {
            from: BACKEND_MAC,
            ..about.error(Complaint::PortUnreachable, at.ip(), 8)
        };
        run_well(&host, &error);
        assert_eq!(seen(&host), (100, 200));
        let host = host.over(&images[3]);
        run_well(&host, &request);
        assert_eq!(seen(&host), (400, 200));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Flows of full NAT, more of them than there are places.
    #[test]
    fn no_two_flows_have_one_place_and_answers_find_their_own(
        v6 in any::<bool>(),
        protocol in proptest::sample::select(vec![TCP, UDP]),
        clients in proptest::collection::hash_set((0..50u16, 1..=u16::MAX), 1..300),
    ) {
        let image = world(v6, protocol, Mode::FullNat).image();
        let host = host(&image);
        let mut places = BTreeSet::new();
        for (n, port) in clients.iter().copied() {
            let client = client(v6, n, port);
            let request = Frame::new(protocol, client, vip(v6));
            let outcome = run(&host, &request);
            if outcome.verdict == DropReason::PoolExhausted.into() {
                // Of 64 places every second one is tried.
                prop_assert!(places.len() >= usize::from(PLACES / 2));
                continue;
            }
            prop_assert_eq!(outcome.verdict, Verdict::Transmit);
            let (place, backend) = ends(&outcome.frame, v6);
            prop_assert!(places.insert((place, backend)), "{place} twice");
            let reply = Frame { from: BACKEND_MAC, ..Frame::new(protocol, backend, place) };
            let answer = run(&host, &reply);
            prop_assert_eq!(answer.verdict, Verdict::Transmit);
            prop_assert_eq!(ends(&answer.frame, v6), (vip(v6), client));
        }
        prop_assert!(places.len() <= 2 * usize::from(PLACES));
        prop_assert_eq!(host.flows().len(), 2 * places.len());
    }
}
