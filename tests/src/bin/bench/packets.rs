//! What a packet costs, above an empty program behind the same front.

use lb_common::{Verdict, backend::Mode, datapath::Fib, maps::Feature};
use lb_tests::{
    frame::Frame,
    image::{Host, Image},
    kernel::{self, INGRESS, Kernel},
    packet::{self, TCP, UDP},
};

use crate::{
    edge::{self, sock},
    front::{Front, Template},
};

/// Flows, and rounds of which the best counts.
const FLOWS: [(u64, u32); 3] = [(1, 60), (1 << 16, 15), (1 << 20, 7)];

/// Prints the table.
pub(crate) fn print() {
    println!(
        "cost of a packet: nanoseconds above the empty program behind the same front program,"
    );
    println!("and total as a multiple of the empty program's; best of many runs, with a core to");
    println!("ourselves (~: it was shared all the while)\n");
    println!(
        "{:<44} {:>17} {:>17} {:>17}",
        "", "1 flow", "65,536 flows", "1,048,576 flows"
    );
    let mut front = Front::load();
    for (egress, way) in [(INGRESS, "same interface"), (INGRESS + 1, "redirect")] {
        measure(
            &mut front,
            &edge::world(egress, Mode::Nat).image(),
            &templates(),
            way,
        );
    }
    let image = edge::world(INGRESS, Mode::Nat).image();
    measure(&mut front, &image, &awkward(), "same interface");
    for mode in [Mode::L2Dsr, Mode::Ipip, Mode::Gue, Mode::FullNat] {
        let image = edge::world(INGRESS, mode).image();
        measure(
            &mut front,
            &image,
            &towards_backends(mode),
            "same interface",
        );
    }
    let mut image = edge::world(INGRESS, Mode::Nat).image();
    image.constants.features |= Feature::Signals as u32;
    measure(&mut front, &image, &towards_backends(Mode::Nat), "watched");
    // What the other modes and features cost who does not use them, where the constants do not say so.
    let mut image = edge::world(INGRESS, Mode::Nat).image();
    image.constants.modes = Mode::ALL.iter().fold(0, |modes, mode| modes | mode.bit());
    image.constants.features = u32::MAX;
    measure(
        &mut front,
        &image,
        &templates(),
        "every mode and feature on",
    );
    println!();
}

fn measure(front: &mut Front, image: &Image, templates: &[(String, Template)], way: &str) {
    for (name, template) in templates {
        // Each anew: flows that are remembered take room.
        let kernel = Kernel::load(image);
        let host = image.host(Fib::Unroutable);
        let outcome = host.run(INGRESS, &template.frame);
        if way == "redirect" && matches!(outcome.verdict, Verdict::Pass(_)) {
            continue;
        }
        check(&kernel, front, template, &host);
        let longer = outcome.frame.len() > template.frame.len();
        let taken_away = if longer {
            front.room(template, 30)
        } else {
            0.0
        };
        let cells = FLOWS.map(|(flows, rounds)| {
            let mut cost = front.measure(kernel.fd(), template, flows, rounds);
            cost.total -= taken_away;
            cost.cell()
        });
        println!(
            "{:<44} {:>17} {:>17} {:>17}",
            format!("{name}, {way}"),
            cells[0],
            cells[1],
            cells[2]
        );
    }
}

/// The path that is timed is the path that is meant: verdict and bytes are those of the host build. A flow
/// to be remembered is, after the first packet.
fn check(kernel: &Kernel, front: &mut Front, template: &Template, host: &Host<'_>) {
    let expected = host.run(INGRESS, &template.frame);
    let out = kernel.run(&template.frame);
    assert_eq!(
        (out.action, &out.frame),
        (kernel::action(expected.verdict).0, &expected.frame)
    );
    assert_eq!(front.once(kernel.fd(), template), expected.frame);
}

fn templates() -> Vec<(String, Template)> {
    let mut templates = towards_backends(Mode::Nat);
    templates.extend([
        (
            "IPv4 TCP nat, way back".to_owned(),
            template(answer(false, CLIENT), 30, 36),
        ),
        (
            "IPv6 TCP nat, way back".to_owned(),
            template(answer(true, CLIENT6), 50, 56),
        ),
        (
            "IPv4 TCP, not for us".to_owned(),
            request("192.0.2.10:80", TCP, 10),
        ),
    ]);
    templates
}

/// Packets that take a detour.
fn awkward() -> Vec<(String, Template)> {
    let frame = |protocol, port, payload| Frame {
        payload: vec![0; payload],
        ..Frame::new(
            protocol,
            sock(CLIENT),
            sock(&format!("203.0.113.10:{port}")),
        )
    };
    let tagged = Frame {
        tags: vec![7],
        ..frame(TCP, 80, 6)
    };
    let first = Frame {
        fragment: (0, true),
        ..frame(UDP, 53, 22)
    };
    let options = frame(TCP, 80, 2).with_options();
    [
        ("IPv4 TCP nat, a VLAN tag", tagged, 30, 38),
        ("IPv4 TCP nat, options", options, 26, 42),
        ("IPv4 UDP nat, first fragment", first, 26, 34),
    ]
    .map(|(name, frame, address, port)| (name.to_owned(), template(frame.bytes(), address, port)))
    .to_vec()
}

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT6: &str = "[2001:db8:c::7]:40000";

fn towards_backends(mode: Mode) -> Vec<(String, Template)> {
    let ipv6 = packet::packet(sock(CLIENT6), sock("[2001:db8:f::10]:80"), TCP, &[0; 6]);
    [
        ("IPv4 TCP", request("203.0.113.10:80", TCP, 10)),
        ("IPv4 UDP", request("203.0.113.10:53", UDP, 22)),
        ("IPv6 TCP", template(ipv6, 34, 54)),
    ]
    .map(|(what, template)| (format!("{what} {}", word(mode)), template))
    .to_vec()
}

const fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Nat => "nat",
        Mode::FullNat => "full-nat",
        Mode::L2Dsr => "l2-dsr",
        Mode::Ipip => "ipip",
        Mode::Gue => "gue",
    }
}

fn request(vip: &str, protocol: u8, pad: usize) -> Template {
    let frame = packet::packet(sock(CLIENT), sock(vip), protocol, &vec![0; pad]);
    template(frame, 26, 34)
}

const fn template(frame: Vec<u8>, address_at: u32, port_at: u32) -> Template {
    Template {
        frame,
        address_at,
        port_at,
    }
}

/// A backend's answer, with its MAC address.
fn answer(v6: bool, client: &str) -> Vec<u8> {
    const BACKEND: u8 = 36;
    let payload: &[u8] = if v6 { &[0; 6] } else { &[0; 10] };
    let mut frame = packet::packet(edge::backend(v6, BACKEND), sock(client), TCP, payload);
    frame[6..12].copy_from_slice(&edge::backend_mac(BACKEND));
    frame
}
