//! What a packet costs, above an empty program behind the same front.

use lb_common::Verdict;
use lb_tests::{
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
    println!("and total as a multiple of the empty program's; best of many runs\n");
    println!(
        "{:<34} {:>17} {:>17} {:>17}",
        "", "1 flow", "65,536 flows", "1,048,576 flows"
    );
    let mut front = Front::load();
    for (egress, way) in [(INGRESS, "same interface"), (INGRESS + 1, "redirect")] {
        let image = edge::world(egress).image();
        let kernel = Kernel::load(&image);
        for (name, template) in templates() {
            let host = image.run(INGRESS, &template.frame);
            if egress != INGRESS && matches!(host.verdict, Verdict::Pass(_)) {
                continue;
            }
            check(&kernel, &mut front, &template, &host);
            let cells = FLOWS.map(|(flows, rounds)| {
                let (total, empty) = front.measure(kernel.fd(), &template, flows, rounds);
                format!("{:>9.1} ({:.1}x)", total - empty, total / empty)
            });
            println!(
                "{:<34} {:>17} {:>17} {:>17}",
                format!("{name}, {way}"),
                cells[0],
                cells[1],
                cells[2]
            );
        }
    }
    println!();
}

/// The path that is timed is the path that is meant: verdict and bytes are those of the host build.
fn check(kernel: &Kernel, front: &mut Front, template: &Template, host: &lb_tests::image::Outcome) {
    let out = kernel.run(&template.frame);
    assert_eq!(
        (out.action, &out.frame),
        (kernel::action(host.verdict).0, &host.frame)
    );
    assert_eq!(front.once(kernel.fd(), template), host.frame);
}

fn templates() -> Vec<(&'static str, Template)> {
    let (client, client6) = ("198.51.100.7:40000", "[2001:db8:c::7]:40000");
    let request = |vip, protocol, pad| {
        template(
            packet::packet(sock(client), sock(vip), protocol, &vec![0; pad]),
            26,
            34,
        )
    };
    vec![
        ("IPv4 TCP nat", request("203.0.113.10:80", TCP, 10)),
        ("IPv4 UDP nat", request("203.0.113.10:53", UDP, 22)),
        (
            "IPv4 TCP nat, way back",
            template(answer(false, client), 30, 36),
        ),
        (
            "IPv6 TCP nat",
            template(
                packet::packet(sock(client6), sock("[2001:db8:f::10]:80"), TCP, &[0; 6]),
                34,
                54,
            ),
        ),
        (
            "IPv6 TCP nat, way back",
            template(answer(true, client6), 50, 56),
        ),
        ("IPv4 TCP, not for us", request("192.0.2.10:80", TCP, 10)),
    ]
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
