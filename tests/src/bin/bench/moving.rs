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
const ROUNDS: u32 = 20;

/// What stands in the table before each round.
#[derive(Clone, Copy, PartialEq)]
enum Table {
    Empty,
    Full,
}

impl Table {
    /// Each of its buckets.
    fn bucket(self) -> [u64; ENTRIES] {
        match self {
            Self::Empty => [0; ENTRIES],
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
    let image = image();
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
        let template = |opens: bool| Template {
            frame: signalled(&frame, opens).bytes(),
            address_at,
            port_at,
        };
        let (syn, ack) = (template(true), template(false));
        for (name, template, table) in [
            ("SYN, table empty", &syn, Table::Empty),
            ("SYN, table full", &syn, Table::Full),
            ("ACK, table empty", &ack, Table::Empty),
            ("ACK, table full", &ack, Table::Full),
        ] {
            measure(
                &mut front,
                &image,
                (&format!("{what} TCP nat, {name}"), template),
                table,
            );
        }
    }
    println!();
}

fn measure(front: &mut Front, image: &Image, (name, template): (&str, &Template), table: Table) {
    let mut kernel = Kernel::load(image);
    check(&kernel, image, template);
    let program = kernel.fd().try_clone().expect("a descriptor");
    let before = kernel.events();
    let fill = || kernel.fill_tracked(BUCKETS, table.bucket());
    let (total, empty) = front.measure_after(&program, template, (FLOWS, ROUNDS), fill);
    let made = |event: TrackEvent| {
        let count =
            |events: &std::collections::BTreeMap<_, u64>| events.get(&event).copied().unwrap_or(0);
        count(&kernel.events()) - count(&before)
    };
    let (tracked, refused) = (made(TrackEvent::Tracked), made(TrackEvent::Refused));
    let packets = u64::from(FLOWS) * u64::from(ROUNDS);
    let is_syn = template.frame[template.port_at as usize + 13] == 2;
    match table {
        _ if !is_syn => assert_eq!((tracked, refused), (0, 0)),
        Table::Full => assert_eq!((tracked, refused), (0, packets)),
        Table::Empty => assert!(100 * tracked > 99 * packets, "{tracked} of {packets}"),
    }
    println!(
        "{name:<44} {:>9.1} {total:>9.1} ({:.1}x)",
        total - empty,
        total / empty
    );
}

/// The path that is timed is the path that is meant.
fn check(kernel: &Kernel, image: &Image, template: &Template) {
    let expected = image.host(Fib::Unroutable).run(INGRESS, &template.frame);
    let out = kernel.run(&template.frame);
    let action = kernel::action(expected.verdict).0;
    assert_eq!((out.action, &out.frame), (action, &expected.frame));
}

/// Every row moves to the next backend.
fn image() -> Image {
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
        service.moving = (0..).zip(&service.owners).map(moving).collect();
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
