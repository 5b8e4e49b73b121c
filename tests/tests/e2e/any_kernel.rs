//! What must work on every kernel that xlb supports: `cargo xtask test-kernels` runs these tests in guests
//! that have `ip` and `ethtool`, but no other server or client than the tests' own.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    damage,
    echo::{Connection, Echo},
    fleet::NAMES,
    load::{ask_udp, room, udp},
    servers::UdpNames,
    wait::eventually,
};
use lb_userspace::{
    config::model::{Mode, Protocol},
    lab::{Family, Options, Topology},
};

use crate::{
    backends::{
        datagrams_are_whole_both_ways, first, fragments_are_put_together_both_ways, network, owned,
        random, set_up, weights,
    },
    site::{SOON, nothing_was_dropped, routed, start_with, wait_for_state, wait_until_whole},
};

/// Bytes of a large transfer.
const TRANSFER: usize = 1 << 20;

/// Port of the backends' TCP servers.
const ECHO: u16 = 7007;

/// Quick, and patient with a machine that is emulated.
const PROBE: &str = "{ type: tcp, port: 7007, interval: 500ms, timeout: 400ms, rise: 1, fall: 2 }";

/// The same services in both families.
const SERVICES: [Service<'_>; 4] = [
    echo("echo4", Family::V4),
    echo("echo6", Family::V6),
    names("names4", Family::V4),
    names("names6", Family::V6),
];

const fn echo(name: &str, family: Family) -> Service<'_> {
    Service {
        name,
        family,
        port: 7,
        backend_port: ECHO,
        probe: PROBE,
        ..Service::WEB
    }
}

/// Probed at the TCP server, so that a backend that is up has been spoken to.
const fn names(name: &str, family: Family) -> Service<'_> {
    Service {
        name,
        family,
        protocol: Protocol::Udp,
        port: 53,
        backend_port: NAMES,
        ..echo(name, family)
    }
}

/// The servers of every backend.
struct Servers {
    echo: Vec<Option<Echo>>,
    _names: Vec<UdpNames>,
}

impl Servers {
    fn start(topology: &Topology) -> Self {
        Self::start_at(topology, &[])
    }

    /// At backends that have these VIPs, too.
    fn start_at(topology: &Topology, vips: &[IpAddr]) -> Self {
        let names = topology
            .backends
            .iter()
            .zip(1..)
            .flat_map(|(host, number)| {
                let own = Family::ALL.map(|family| host.link.address.of(family));
                let places = own.into_iter().chain(vips.iter().copied());
                let start = move |ip| {
                    let name = format!("b{number}");
                    UdpNames::start(&host.namespace, &name, SocketAddr::new(ip, NAMES)).unwrap()
                };
                places.map(start)
            });
        let mut servers = Self {
            _names: names.collect(),
            echo: topology.backends.iter().map(|_| None).collect(),
        };
        (1..=topology.backends.len()).for_each(|number| servers.revive(topology, number));
        servers
    }

    fn revive(&mut self, topology: &Topology, number: usize) {
        let host = &topology.backends[number - 1].namespace;
        let server = Echo::start(host, &format!("b{number}"), any(ECHO)).unwrap();
        self.echo[number - 1] = Some(server);
    }

    /// From now on it refuses connections.
    fn kill(&mut self, number: usize) {
        self.echo[number - 1] = None;
    }
}

/// A port of all addresses of both families.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

fn open(topology: &Topology, service: &Service<'_>) -> io::Result<Connection> {
    let vip = service.vip(topology);
    let client = &topology.client.namespace;
    client.enter(|| Connection::open(vip)).unwrap()
}

/// Opens connections until every backend has served one; the last of each.
fn open_to_all(topology: &Topology, service: &Service<'_>) -> Vec<Connection> {
    let mut connections: Vec<Connection> = Vec::new();
    eventually("every backend serves", SOON, || {
        let connection = open(topology, service).unwrap();
        connections.retain(|other| other.name != connection.name);
        connections.push(connection);
        (connections.len() == service.weights.len()).then_some(())
    })
    .unwrap();
    connections
}

/// Large transfers to every backend, datagrams of many flows, and nothing damaged or dropped.
fn carries(topology: &Topology, mode: &str) {
    let _servers = Servers::start(topology);
    let file = config::yaml(topology, &SERVICES).replace("xdp: native", &format!("xdp: {mode}"));
    let xlb = start_with(topology, &file);
    for service in &SERVICES {
        match service.protocol {
            Protocol::Tcp => streams_are_whole(topology, service),
            Protocol::Udp => datagrams_are_whole(topology, service),
        }
    }
    damage::assert_none(topology).unwrap();
    let status = xlb.json(&["status"]).unwrap();
    for drop in status["drops"].as_array().unwrap() {
        assert_eq!(drop["packets"], 0, "{drop}");
    }
    for interface in status["interfaces"].as_array().unwrap() {
        assert_eq!(interface["mode"], mode, "{interface}");
    }
}

fn streams_are_whole(topology: &Topology, service: &Service<'_>) {
    let bytes = random(TRANSFER);
    for mut connection in open_to_all(topology, service) {
        assert!(connection.returns(&bytes).unwrap(), "{}", service.name);
        assert!(connection.close().unwrap(), "{}", service.name);
    }
}

fn datagrams_are_whole(topology: &Topology, service: &Service<'_>) {
    let vip = service.vip(topology);
    // The answer is the question, a name of two letters, and a space.
    let full = random(room(service.family) - 3);
    let flow = |_| {
        let socket = udp(vip)?;
        let small = ask_udp(&socket, b"who?")?;
        assert_eq!(small, ask_udp(&socket, &full)?, "two datagrams of a flow");
        Ok(small)
    };
    let flows = || (0..60).map(flow).collect::<io::Result<BTreeSet<_>>>();
    let names = topology.client.namespace.enter(flows).unwrap().unwrap();
    assert_eq!(names.len(), 3, "{}: {names:?}", service.name);
}

#[test]
fn one_armed_every_byte_arrives() {
    carries(&Topology::one_armed(routed()).unwrap(), "native");
}

#[test]
fn two_armed_every_byte_arrives() {
    carries(&Topology::two_armed(routed()).unwrap(), "native");
}

#[test]
fn in_generic_mode_every_byte_arrives() {
    carries(&Topology::two_armed(routed()).unwrap(), "generic");
}

/// The clients are on the link, so that the program asks the kernel for them.
#[test]
fn where_the_kernel_forwards_every_byte_arrives() {
    let options = Options {
        forward: true,
        ..Options::default()
    };
    carries(&Topology::two_armed(options).unwrap(), "native");
}

/// Backends on the link and behind a router, set up as the mode wants it and no more.
fn carries_in(mode: Mode) {
    let topology = Topology::two_armed(network(mode)).unwrap();
    let _ends = set_up(&topology, mode);
    let _servers = Servers::start_at(&topology, &owned(&topology, mode));
    let services = SERVICES.map(|service| Service {
        mode,
        port: service.backend_port,
        weights: weights(mode),
        ..service
    });
    let xlb = start_with(&topology, &config::yaml(&topology, &services));
    for service in &services {
        if service.protocol == Protocol::Tcp {
            streams_are_whole(&topology, service);
            continue;
        }
        let (vip, all) = (service.vip(&topology), first(weights(mode).len()));
        assert_eq!(datagrams_are_whole_both_ways(&topology, vip), all);
        assert_eq!(fragments_are_put_together_both_ways(&topology, vip), all);
    }
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

#[test]
fn nat_carries_everything() {
    carries_in(Mode::Nat);
}

#[test]
fn full_nat_carries_everything() {
    carries_in(Mode::FullNat);
}

#[test]
fn l2_dsr_carries_everything() {
    carries_in(Mode::L2Dsr);
}

#[test]
fn ipip_carries_everything() {
    carries_in(Mode::Ipip);
}

#[test]
fn gue_carries_everything() {
    carries_in(Mode::Gue);
}

#[test]
fn connections_outlive_the_daemon_and_the_program() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _servers = Servers::start(&topology);
    let [first, .., last] = SERVICES;
    let mut xlb = start_with(&topology, &config::yaml(&topology, &[first]));
    let mut held = open_to_all(&topology, &first);
    let mut all_answer = || {
        held.iter_mut()
            .all(|open| open.returns(b"still there").unwrap())
    };

    xlb.kill().unwrap();
    assert!(all_answer(), "without a daemon");
    assert!(open(&topology, &first).is_ok(), "without a daemon");

    xlb.start_again().unwrap();
    wait_until_whole(&xlb);
    assert!(all_answer(), "with another daemon");

    // The second family takes another program, which the links are updated to.
    let before = program(&xlb);
    fs::write(xlb.config_file(), config::yaml(&topology, &[first, last])).unwrap();
    xlb.json(&["apply"]).unwrap();
    assert_ne!(program(&xlb), before, "another program");
    wait_until_whole(&xlb);
    assert!(all_answer(), "with another program");
    datagrams_are_whole(&topology, &last);
}

/// The kernel's number of the program at the first interface.
fn program(xlb: &Xlb<'_>) -> u64 {
    let status = xlb.json(&["status"]).unwrap();
    status["interfaces"][0]["program_id"].as_u64().unwrap()
}

#[test]
fn a_backend_that_dies_takes_no_connections_until_it_returns() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut servers = Servers::start(&topology);
    let [service, ..] = SERVICES;
    let xlb = start_with(&topology, &config::yaml(&topology, &[service]));
    servers.kill(2);
    wait_for_state(&xlb, service.name, "b2", "down");
    for _ in 0..30 {
        assert_ne!(open(&topology, &service).unwrap().name, "b2");
    }
    servers.revive(&topology, 2);
    wait_for_state(&xlb, service.name, "b2", "up");
    open_to_all(&topology, &service);
}

/// The daemon follows what the kernel learns, and has the kernel look after the neighbours.
#[test]
fn a_backend_gets_another_mac_address() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _servers = Servers::start(&topology);
    let [service, ..] = SERVICES;
    let xlb = start_with(&topology, &config::yaml(&topology, &[service]));
    let backend = &topology.backends[1].namespace;
    backend
        .sysctl("net/ipv4/conf/eth0/arp_notify", "1")
        .unwrap();
    backend
        .ip(["link set eth0 address 02:00:00:00:00:99"])
        .unwrap();
    // Whether its connections came too late for a probe or not.
    wait_until_whole(&xlb);
    open_to_all(&topology, &service);
}
