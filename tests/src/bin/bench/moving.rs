//! What packets of rows that move cost, when every row does: nobody else tells a client's first SYN from that of a
//! flood.

use std::net::SocketAddr;

use lb_common::{
    backend::Mode,
    datapath::Fib,
    tracked::{ENTRIES, Tracked},
    verdict::TrackEvent,
};
use lb_tests::{
    frame::{Body, Frame, TcpHeader},
    image::Image,
    kernel::{self, INGRESS, Kernel},
    packet::TCP,
    world::Moving,
};

use crate::{
    edge::{self, sock},
    front::{Front, Template},
};

const BUCKETS: u32 = 32_768;
const NOW: u32 = 1000;
/// Random clients. In an empty table of four times as many places nearly all find one.
const FLOWS: u32 = 1 << 16;
const ROUNDS: u32 = 45;

/// What stands in the table before each round.
#[derive(Clone, Copy, PartialEq)]
enum Table {
    Empty,
    Full,
    /// No row moves: nobody looks.
    Unused,
}

impl Table {
    /// Each of its buckets.
    fn bucket(self) -> [u64; ENTRIES] {
        match self {
            Self::Empty | Self::Unused => [0; ENTRIES],
            // Others' flows.
            Self::Full => std::array::from_fn(|n| Tracked::confirmed(n as u64 + 1, 1, NOW).0),
        }
    }
}

/// Prints the table.
pub(crate) fn print() {
    println!("cost of a packet of a moving row, all rows moving: {FLOWS} random clients, table of");
    println!(
        "{} flows: nanoseconds above the empty program, and total\n",
        8 * BUCKETS
    );
    let mut front = Front::load();
    for (what, frame, address_at, port_at) in [
        (
            "IPv4",
            request("198.51.100.7:40000", "203.0.113.10:80", 10),
            26,
            34,
        ),
        (
            "IPv6",
            request("[2001:db8:c::7]:40000", "[2001:db8:f::10]:80", 6),
            34,
            54,
        ),
    ] {
        for (name, opens, table) in [
            ("SYN, row at rest", true, Table::Unused),
            ("SYN, table empty", true, Table::Empty),
            ("SYN, table full", true, Table::Full),
            ("ACK, table empty", false, Table::Empty),
            ("ACK, table full", false, Table::Full),
        ] {
            let template = Template {
                frame: signalled(&frame, opens).bytes(),
                address_at,
                port_at,
            };
            let name = format!("{what} TCP nat, {name}");
            measure(&mut front, (&name, &template), opens, table);
        }
    }
    println!();
}

fn measure(front: &mut Front, (name, template): (&str, &Template), opens: bool, table: Table) {
    let image = image(table != Table::Unused);
    let mut kernel = Kernel::load(&image);
    check(&kernel, &image, template);
    let program = kernel.fd().try_clone().expect("a descriptor");
    let before = tracking(&kernel);
    let fill = || kernel.fill_tracked(BUCKETS, table.bucket());
    let cost = front.measure_after(&program, template, (FLOWS, ROUNDS), fill);
    let after = tracking(&kernel);
    let (tracked, refused) = (after.0 - before.0, after.1 - before.1);
    let packets = u64::from(FLOWS) * u64::from(cost.runs);
    match table {
        Table::Empty if opens => assert!(100 * tracked > 99 * packets, "{tracked} of {packets}"),
        Table::Full if opens => assert_eq!((tracked, refused), (0, packets)),
        _ => assert_eq!((tracked, refused), (0, 0)),
    }
    println!("{name:<44} {:>17} {:>7.1}", cost.cell(), cost.total);
}

/// Flows that were tracked, and those that found no place.
fn tracking(kernel: &Kernel) -> (u64, u64) {
    let events = kernel.events();
    let count = |event| events.get(&event).copied().unwrap_or(0);
    (count(TrackEvent::Tracked), count(TrackEvent::Refused))
}

/// The path that is timed is the path that is meant.
fn check(kernel: &Kernel, image: &Image, template: &Template) {
    let expected = image.host(Fib::Unroutable).run(INGRESS, &template.frame);
    let out = kernel.run(&template.frame);
    let action = kernel::action(expected.verdict).0;
    assert_eq!((out.action, &out.frame), (action, &expected.frame));
}

/// Every row is at rest, or moves to the next backend.
fn image(moves: bool) -> Image {
    let mut world = edge::world(INGRESS, Mode::Nat);
    world.buckets = BUCKETS;
    world.clock = NOW;
    for service in &mut world.services {
        let backends = u16::try_from(service.backends.len()).expect("few backends");
        let moving = |(slot, owner): (u32, &Option<u16>)| {
            let old = owner.map(|owner| (owner + 1) % backends);
            (
                slot,
                Moving {
                    old,
                    learned: false,
                },
            )
        };
        let rows = (0..).zip(&service.owners).filter(|_| moves);
        service.moving = rows.map(moving).collect();
    }
    world.image()
}

fn request(client: &str, vip: &str, pad: usize) -> Frame {
    let (client, vip): (SocketAddr, SocketAddr) = (sock(client), sock(vip));
    Frame {
        payload: vec![0; pad],
        ..Frame::new(TCP, client, vip)
    }
}

fn signalled(frame: &Frame, opens: bool) -> Frame {
    let header = TcpHeader {
        syn: opens,
        ack: !opens,
        ..TcpHeader::new(0, 0, 77, 8192)
    };
    Frame {
        body: Body::Tcp(header),
        ..frame.clone()
    }
}
