//! Packets reach backends and come back, whole, whatever the network looks like.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use lb_tests::{
    config::Service,
    damage,
    fleet::Fleet,
    load::{ask_udp, room, udp},
    servers::iperf3,
    wait::eventually,
};
use lb_userspace::{
    config::model::Protocol,
    lab::{Family, Options, Topology},
};

use crate::{
    backends::{curl, pages_are_whole_both_ways},
    page::dropped,
    site::{SOON, connects, nothing_was_dropped, routed, send, start},
};

/// Bytes of a large transfer.
const TRANSFER: usize = 32 << 20;

/// A service with one backend, because iperf3 wants both of its connections at the same server.
const IPERF3: Service<'_> = Service {
    name: "iperf3",
    port: 5201,
    backend_port: 5202,
    probe: "none",
    weights: &[1],
    ..Service::WEB
};

/// What is forwarded in every network, in a family.
fn services(family: Family) -> [Service<'static>; 4] {
    let [web, names, iperf3, iperf3_udp] = match family {
        Family::V4 => ["web4", "names4", "iperf4", "iperf4-udp"],
        Family::V6 => ["web6", "names6", "iperf6", "iperf6-udp"],
    };
    let service = |name, service| Service {
        name,
        family,
        ..service
    };
    [
        service(web, Service::WEB),
        service(names, Service::NAMES),
        service(iperf3, IPERF3),
        service(
            iperf3_udp,
            Service {
                protocol: Protocol::Udp,
                ..IPERF3
            },
        ),
    ]
}

/// Everything that goes through a balancer in one network.
fn carries_everything(topology: &Topology) {
    let fleet = Fleet::start(topology).unwrap();
    let _iperf3 = iperf3(&topology.backends[0].namespace, IPERF3.backend_port).unwrap();
    let all: Vec<_> = Family::ALL.into_iter().flat_map(services).collect();
    let xlb = start(topology, &all);
    for family in Family::ALL {
        let web = SocketAddr::new(topology.vip.of(family), Service::WEB.port);
        pages_are_whole_both_ways(topology, &fleet, web, TRANSFER);
        backends_see_who_asks(topology, family);
        streams_run_both_ways(topology, family);
        datagrams_are_whole_both_ways(topology, family);
    }
    damage::assert_none(topology).unwrap();
    nothing_was_dropped(&xlb);
}

#[test]
fn one_armed_with_clients_on_the_link() {
    carries_everything(&Topology::one_armed(on_the_link()).unwrap());
}

#[test]
fn one_armed_with_clients_behind_a_router() {
    carries_everything(&Topology::one_armed(routed()).unwrap());
}

#[test]
fn two_armed_with_clients_on_the_link() {
    carries_everything(&Topology::two_armed(on_the_link()).unwrap());
}

#[test]
fn two_armed_with_clients_behind_a_router() {
    carries_everything(&Topology::two_armed(routed()).unwrap());
}

/// The kernel tells the program about neighbours only where it forwards.
fn on_the_link() -> Options {
    Options {
        forward: true,
        ..Options::default()
    }
}

fn backends_see_who_asks(topology: &Topology, family: Family) {
    let vip = SocketAddr::new(topology.vip.of(family), Service::WEB.port);
    let seen = curl(topology, vip, "/client", &[]);
    let client = topology.client.link.address.of(family);
    assert_eq!(seen.trim(), client.to_string());
}

/// TCP and UDP of iperf3, up and down. It ends with an error where a connection breaks.
fn streams_run_both_ways(topology: &Topology, family: Family) {
    let vip = topology.vip.of(family).to_string();
    let udp = room(family).to_string();
    let tcp: &[&str] = &["-n", "48M"];
    let udp: &[&str] = &["-u", "-b", "40M", "-n", "4M", "-l", &udp];
    for kind in [tcp, udp] {
        for direction in [&[][..], &["-R"]] {
            let words = [&["iperf3", "-c", &vip], kind, direction].concat();
            // Between two tests the server does not listen.
            eventually("iperf3 takes the next test", SOON, || {
                match topology.client.namespace.run(&words) {
                    Err(error) if is_busy(&error.to_string()) => None,
                    other => Some(other),
                }
            })
            .unwrap()
            .unwrap();
        }
    }
}

/// What iperf3 says of a server that is not through with the test before.
fn is_busy(error: &str) -> bool {
    error.contains("unable to connect") || error.contains("server is busy")
}

/// Many flows of UDP, each with a small and a full datagram, each with one backend.
fn datagrams_are_whole_both_ways(topology: &Topology, family: Family) {
    let vip = SocketAddr::new(topology.vip.of(family), Service::NAMES.port);
    // The answer is the question, a name of two letters, and a space.
    let full: Vec<u8> = (0..=u8::MAX).cycle().take(room(family) - 3).collect();
    let flow = |_| {
        let socket = udp(vip)?;
        let small = ask_udp(&socket, b"who?")?;
        let large = ask_udp(&socket, &full)?;
        assert_eq!(small, large, "two datagrams of a flow");
        Ok(small)
    };
    let flows = || (0..300).map(flow).collect::<io::Result<BTreeSet<_>>>();
    let names = topology.client.namespace.enter(flows).unwrap().unwrap();
    let expected = ["b1", "b2", "b3"].map(str::to_owned);
    assert_eq!(names, BTreeSet::from(expected), "{family}");
}

#[test]
fn flows_spread_over_three_backends_within_five_percent() {
    const FLOWS: usize = 30_000;
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let _xlb = start(&topology, &[Service::NAMES]);
    let vip = Service::NAMES.vip(&topology);
    let client = topology.client.link.address.of(Family::V4);
    let flow = |port| {
        let socket = UdpSocket::bind((client, port))?;
        socket.set_read_timeout(Some(SOON))?;
        socket.connect(vip)?;
        ask_udp(&socket, b"who?")
    };
    let count = || {
        let mut flows = BTreeMap::<String, usize>::new();
        for port in (2_000..).take(FLOWS) {
            *flows.entry(flow(port).unwrap()).or_default() += 1;
        }
        flows
    };
    let flows = topology.client.namespace.enter(count).unwrap();
    println!("flows: {flows:?}");
    assert_eq!(flows.values().sum::<usize>(), FLOWS);
    for count in flows.values() {
        let share = FLOWS / 3;
        assert!(count.abs_diff(share) * 20 <= share, "{flows:?}");
    }
}

#[test]
fn a_port_without_a_service_is_closed_and_counted() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let client = &topology.client.namespace;
    let [open, closed] = [80, 81].map(|port| SocketAddr::new(topology.vip.of(Family::V4), port));
    assert!(connects(client, open));
    assert_eq!(dropped(&xlb, "no_such_port"), 0);
    assert!(!connects(client, closed));
    assert!(dropped(&xlb, "no_such_port") >= 1);
}

#[test]
fn the_balancer_itself_still_speaks_with_backends() {
    for topology in [Topology::one_armed, Topology::two_armed] {
        let topology = topology(Options::default()).unwrap();
        let _fleet = Fleet::start(&topology).unwrap();
        let _xlb = start(&topology, &[Service::WEB, Service::NAMES]);
        let balancer = &topology.balancer.namespace;
        for (number, backend) in (1..).zip(&topology.backends) {
            let address = backend.link.address.of(Family::V4);
            let page = format!("http://{}/", SocketAddr::new(address, 8080));
            let name = balancer.run(["curl", "-sSf", &page]).unwrap();
            assert_eq!(name.trim(), format!("b{number}"));
            let ssh = SocketAddr::new(address, 22);
            let listen = || TcpListener::bind(ssh).unwrap();
            let _listener = backend.namespace.enter(listen).unwrap();
            assert!(connects(balancer, ssh), "{ssh}");
        }
    }
}

/// A balancer that believed clients who say that they are backends would send its VIP's answers
/// wherever they like.
#[test]
fn a_client_cannot_pose_as_a_backend() {
    let topology = Topology::two_armed(Options::default()).unwrap();
    let xlb = start(&topology, &[Service::NAMES]);
    let b1 = topology.backends[0].link.address.v4;
    let client = &topology.client.namespace;
    client.ip([format!("addr add {b1}/32 dev lo")]).unwrap();
    let forged = SocketAddr::from((b1, Service::NAMES.backend_port));
    send(client, forged, "192.0.2.77:9".parse().unwrap(), 5);
    assert_eq!(dropped(&xlb, "forged_backend"), 5);
}

/// One-armed, clients and backends come in by the same interface: the backend's MAC address tells.
#[test]
fn a_neighbour_cannot_pose_as_a_backend() {
    let topology = Topology::one_armed(Options::default()).unwrap();
    let xlb = start(&topology, &[Service::NAMES]);
    let b1 = topology.backends[0].link.address.v4;
    let b2 = &topology.backends[1].namespace;
    b2.ip([format!("addr add {b1}/32 dev lo")]).unwrap();
    let forged = SocketAddr::from((b1, Service::NAMES.backend_port));
    send(b2, forged, "192.0.2.77:9".parse().unwrap(), 5);
    assert_eq!(dropped(&xlb, "forged_backend"), 5);
}
