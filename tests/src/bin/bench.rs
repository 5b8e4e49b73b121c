//! `cargo xtask bench`: what a packet costs.
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(
    clippy::expect_used,
    reason = "a bench panics, so that the place is known"
)]

use std::time::Duration;

use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{next_hop::NextHop, route::Action};
use lb_tests::{
    kernel::{self, INGRESS, Kernel},
    packet::{self, OUR_MAC, TCP, UDP},
    world::{Service, World},
};

fn sock(text: &str) -> std::net::SocketAddr {
    text.parse().expect("an address")
}

fn world() -> World {
    let gateway = NextHop::new([2, 0, 0, 0, 0, 0xaa], INGRESS, false);
    let backends = |v6: bool| {
        (0..100)
            .map(|i| {
                let address = if v6 {
                    sock(&format!("[2001:db8:1::{:x}]:8080", i + 16))
                } else {
                    sock(&format!("10.0.0.{}:8080", i + 16))
                };
                (
                    address,
                    NextHop::new([2, 0, 0, 1, 0, i as u8], INGRESS, true),
                )
            })
            .collect::<Vec<_>>()
    };
    World {
        interfaces: vec![(INGRESS, OUR_MAC, true)],
        services: vec![
            Service::new(sock("203.0.113.10:80"), TCP, backends(false), 16),
            Service::new(sock("203.0.113.10:53"), UDP, backends(false), 16),
            Service::new(sock("[2001:db8:f::10]:80"), TCP, backends(true), 16),
        ],
        local: vec![
            "10.0.0.1".parse().expect("an address"),
            "2001:db8:1::1".parse().expect("an address"),
        ],
        routes: vec![
            (
                "10.0.0.0".parse().expect("an address"),
                24,
                Action::Fib,
                NextHop::UNRESOLVED,
            ),
            (
                "0.0.0.0".parse().expect("an address"),
                0,
                Action::NextHop,
                gateway,
            ),
            (
                "2001:db8:1::".parse().expect("an address"),
                64,
                Action::Fib,
                NextHop::UNRESOLVED,
            ),
            (
                "::".parse().expect("an address"),
                0,
                Action::NextHop,
                gateway,
            ),
        ],
        hash_key: [0x1234_5678_9abc_def1, 0xfedc_ba98_7654_3211],
    }
}

fn net(front: &mut Ebpf, name: &str, repeat: u32, rounds: u32, frame: &[u8]) -> f64 {
    let program: &Xdp = front.program(name).expect("front").try_into().expect("xdp");
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let mut out = [0; 512];
        let r = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                repeat,
                ..TestRunOptions::default()
            })
            .expect("run");
        best = best.min(r.duration);
        assert!(
            r.return_value == 3 || r.return_value == 2 || r.return_value == 4,
            "{}",
            r.return_value
        );
    }
    best.as_nanos() as f64
}

fn main() {
    let image = world().image();
    let kernel = Kernel::load(&image);
    let info = kernel.program().info().expect("info");
    println!(
        "verified {:?} xlated {:?} bytes",
        info.verified_instruction_count(),
        info.size_translated()
    );
    let mut front = aya::EbpfLoader::new()
        .load(&kernel::object("bench"))
        .expect("bench object");
    for name in ["front_64", "front_80", "empty"] {
        let p: &mut Xdp = front
            .program_mut(name)
            .expect(name)
            .try_into()
            .expect("xdp");
        p.load().expect("load");
    }
    let empty = {
        let p: &Xdp = front.program("empty").expect("e").try_into().expect("xdp");
        p.fd().expect("fd").try_clone().expect("clone")
    };
    let gw = [2, 0, 0, 1, 0, 36];
    let cases: Vec<(&str, Vec<u8>, u32, u32, &str)> = vec![
        (
            "v4 tcp nat",
            packet::packet(
                sock("198.51.100.7:40000"),
                sock("203.0.113.10:80"),
                TCP,
                &[0; 10],
            ),
            26,
            34,
            "front_64",
        ),
        (
            "v4 udp nat",
            packet::packet(
                sock("198.51.100.7:40000"),
                sock("203.0.113.10:53"),
                UDP,
                &[0; 22],
            ),
            26,
            34,
            "front_64",
        ),
        (
            "v4 tcp back",
            {
                let mut p = packet::packet(
                    sock("10.0.0.52:8080"),
                    sock("198.51.100.7:40000"),
                    TCP,
                    &[0; 10],
                );
                p[6..12].copy_from_slice(&gw);
                p
            },
            30,
            36,
            "front_64",
        ),
        (
            "v6 tcp nat",
            packet::packet(
                sock("[2001:db8:c::7]:40000"),
                sock("[2001:db8:f::10]:80"),
                TCP,
                &[0; 6],
            ),
            34,
            54,
            "front_80",
        ),
        (
            "v6 tcp back",
            {
                let mut p = packet::packet(
                    sock("[2001:db8:1::34]:8080"),
                    sock("[2001:db8:c::7]:40000"),
                    TCP,
                    &[0; 6],
                );
                p[6..12].copy_from_slice(&gw);
                p
            },
            50,
            56,
            "front_80",
        ),
        (
            "not for us",
            packet::packet(
                sock("198.51.100.7:40000"),
                sock("192.0.2.10:80"),
                TCP,
                &[0; 10],
            ),
            26,
            34,
            "front_64",
        ),
    ];
    for (name, frame, address_at, port_at, front_name) in cases {
        let out = kernel.run(&frame);
        let host = image.run(INGRESS, &frame);
        assert_eq!(
            (kernel::action(host.verdict).0, &host.frame),
            (out.action, &out.frame),
            "{name}"
        );
        print!("{name:12} {:?}", host.verdict);
        for flows in [1u64, 1 << 16, 1 << 20] {
            let mut value = [0u8; 104];
            let n = frame.len().min(80);
            value[..n].copy_from_slice(&frame[..n]);
            value[80..88].copy_from_slice(&(flows - 1).to_ne_bytes());
            value[88..92].copy_from_slice(&address_at.to_ne_bytes());
            value[92..96].copy_from_slice(&port_at.to_ne_bytes());
            {
                let mut map: Array<&mut MapData, [u8; 104]> =
                    Array::try_from(front.map_mut("FRONT").expect("m")).expect("m");
                map.set(0, value, 0).expect("set");
            }
            let mut run = |fd: &aya::programs::ProgramFd| {
                {
                    let mut next: ProgramArray<&mut MapData> =
                        ProgramArray::try_from(front.map_mut("NEXT").expect("n")).expect("n");
                    next.set(0, fd, 0).expect("set");
                }
                net(
                    &mut front,
                    front_name,
                    if flows == 1 { 100_000 } else { 1_000_000 },
                    if flows == 1 { 30 } else { 7 },
                    &frame,
                )
            };
            let e = run(&empty);
            let p = run(kernel.fd());
            let e2 = run(&empty);
            print!("   {flows}: {e}/{e2} {p} net {}", p - e.min(e2));
        }
        println!();
    }
}
