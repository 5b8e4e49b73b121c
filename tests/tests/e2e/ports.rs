//! Services on one port, on a range and on all ports of one address, and backends that several
//! services share.

use std::{
    fs, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use lb_tests::{
    config, damage,
    echo::{Connection, Echo},
    load::{ask_udp, udp},
    servers::UdpNames,
};
use lb_userspace::{
    config::model::{Mode, Protocol},
    lab::{Family, Host, Topology},
};

use crate::{
    backends::{network, owned, set_up},
    page::dropped,
    site::{SOON, nothing_was_dropped, start_with},
};

/// Servers of both protocols at ports of a host, which tell the host's number and the port.
#[derive(Default)]
struct Servers {
    echo: Vec<Echo>,
    names: Vec<UdpNames>,
}

impl Servers {
    /// At its own addresses, and at the VIPs that it has.
    fn start(host: &Host, number: usize, vips: &[IpAddr], ports: &[u16]) -> Self {
        let own = Family::ALL.map(|family| host.link.address.of(family));
        let mut servers = Self::default();
        for port in ports {
            let (name, namespace) = (format!("b{number}:{port}"), &host.namespace);
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
            servers
                .echo
                .push(Echo::start(namespace, &name, any).unwrap());
            for ip in own.iter().chain(vips) {
                let place = SocketAddr::new(*ip, *port);
                let server = UdpNames::start(namespace, &name, place);
                servers.names.push(server.unwrap());
            }
        }
        servers
    }
}

/// Which server answers at a VIP. Nobody else's answer is heard.
fn server(topology: &Topology, protocol: Protocol, vip: SocketAddr) -> io::Result<String> {
    let ask = || match protocol {
        Protocol::Tcp => Connection::open(vip).map(|connection| connection.name),
        Protocol::Udp => ask_udp(&udp(vip)?, b"who?"),
    };
    topology.client.namespace.enter(ask).unwrap()
}

/// A service in one line of YAML.
fn service(name: &str, vip: &str, mode: Mode, backend: &str) -> String {
    let mode = mode.word();
    format!(
        "  - {{ name: {name}, vip: \"{vip}\", mode: {mode}, probe: none, backends: [\"{backend}\"] }}\n"
    )
}

/// An address before a colon, or alone.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// Services of every kind on one address: single port, ranges kept and moved, and all others.
fn services(topology: &Topology, family: Family, protocol: Protocol, mode: Mode) -> String {
    let vip = bracketed(topology.vip.of(family));
    let [b1, b2] = [0, 1].map(|index| {
        let backend: &Host = &topology.backends[index];
        bracketed(backend.link.address.of(family))
    });
    let service = |kind: &str, ports: &str, backend: &str| {
        let name = format!("{kind}-{family}-{protocol}");
        service(&name, &format!("{vip}:{ports}/{protocol}"), mode, backend)
    };
    let (one, moved) = if mode.is_nat() {
        (format!("{b2}:7050"), format!("{b2}:7000-7009"))
    } else {
        (b2.clone(), b2.clone())
    };
    [
        service("rest", "*", &b2),
        service("range", "8000-8099", &b1),
        service("one", "8050", &one),
        service("moved", "9000-9009", &moved),
    ]
    .concat()
}

/// The more precise service takes its ports from the others.
fn the_most_precise_service_counts(mode: Mode) {
    let topology = Topology::two_armed(network(mode)).unwrap();
    let [one, moved] = if mode.is_nat() {
        [7050, 7003]
    } else {
        [8050, 9003]
    };
    let _ends = set_up(&topology, mode);
    let vips = owned(&topology, mode);
    let [first, second, ..] = &topology.backends[..] else {
        panic!("two backends");
    };
    let _servers = [
        Servers::start(first, 1, &vips, &[8000, 8049, 8099]),
        Servers::start(second, 2, &vips, &[one, moved, 1, 8100, 65_535]),
    ];
    let all = Family::ALL.map(|family| {
        [Protocol::Tcp, Protocol::Udp].map(|protocol| services(&topology, family, protocol, mode))
    });
    let file = config::interfaces(&topology) + "services:\n" + &all.as_flattened().concat();
    let xlb = start_with(&topology, &file);
    let expected = [
        (8000, "b1:8000".to_owned()),
        (8049, "b1:8049".to_owned()),
        (8050, format!("b2:{one}")),
        (8099, "b1:8099".to_owned()),
        (8100, "b2:8100".to_owned()),
        (9003, format!("b2:{moved}")),
        (1, "b2:1".to_owned()),
        (65_535, "b2:65535".to_owned()),
    ];
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (port, name) in &expected {
                let vip = SocketAddr::new(topology.vip.of(family), *port);
                let served = server(&topology, protocol, vip);
                let served = served.unwrap_or_else(|error| panic!("{vip}/{protocol}: {error}"));
                assert_eq!(served, *name, "{vip}/{protocol}");
            }
        }
    }
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

#[test]
fn the_most_precise_service_counts_in_nat() {
    the_most_precise_service_counts(Mode::Nat);
}

#[test]
fn the_most_precise_service_counts_in_full_nat() {
    the_most_precise_service_counts(Mode::FullNat);
}

#[test]
fn the_most_precise_service_counts_in_l2_dsr() {
    the_most_precise_service_counts(Mode::L2Dsr);
}

#[test]
fn the_most_precise_service_counts_in_ipip() {
    the_most_precise_service_counts(Mode::Ipip);
}

#[test]
fn the_most_precise_service_counts_in_gue() {
    the_most_precise_service_counts(Mode::Gue);
}

/// Two VIPs lead to one port of one backend, which answers for both.
struct Shared {
    topology: Topology,
    vips: [SocketAddr; 2],
    file: String,
    _servers: Servers,
}

impl Shared {
    fn new(family: Family) -> Self {
        let topology = Topology::two_armed(network(Mode::Nat)).unwrap();
        let one = topology.vip.of(family);
        let other = topology.another_vip(11).of(family);
        let vips = [(one, 53), (other, 54)].map(SocketAddr::from);
        let backend = SocketAddr::new(topology.backends[0].link.address.of(family), 8053);
        let file = two_services(&topology, vips, [&[backend], &[backend]]);
        Self {
            _servers: Servers::start(&topology.backends[0], 1, &[], &[8053]),
            topology,
            vips,
            file,
        }
    }
}

/// `one` and `other`, over both protocols, with these backends.
fn two_services(
    topology: &Topology,
    vips: [SocketAddr; 2],
    backends: [&[SocketAddr]; 2],
) -> String {
    let mut file = config::interfaces(topology) + "services:\n";
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for ((name, vip), backends) in ["one", "other"].into_iter().zip(vips).zip(backends) {
            let name = format!("{name}-{protocol}");
            let vip = format!("{vip}/{protocol}");
            let backends: Vec<String> = backends.iter().map(ToString::to_string).collect();
            file += &service(&name, &vip, Mode::Nat, &backends.join("\", \""));
        }
    }
    file
}

#[test]
fn one_backend_answers_for_two_services() {
    for family in Family::ALL {
        let Shared {
            topology,
            vips,
            file,
            ..
        } = &Shared::new(family);
        let xlb = start_with(topology, file);
        // Few: a client may use a port again that leads to the other service for a minute yet.
        for round in 0..10 {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for vip in vips {
                    let name = server(topology, protocol, *vip);
                    let name = name.unwrap_or_else(|error| {
                        let drops = xlb.json(&["status"]).unwrap()["drops"].clone();
                        panic!("{vip}/{protocol}, {round}: {error}: {drops}")
                    });
                    assert_eq!(name, "b1:8053");
                }
            }
        }
        damage::assert_none(topology).unwrap();
        nothing_was_dropped(&xlb);
    }
}

/// What the backend sends to that port would be for both.
#[test]
fn a_clients_port_leads_to_one_of_two_services_that_share_a_backend() {
    let shared = Shared::new(Family::V4);
    let Shared { topology, vips, .. } = &shared;
    let xlb = start_with(topology, &shared.file);
    let client = topology.client.link.address.of(Family::V4);
    let ask = |vip: SocketAddr, patience| {
        let socket = UdpSocket::bind((client, 5000))?;
        socket.connect(vip)?;
        socket.set_read_timeout(Some(patience))?;
        ask_udp(&socket, b"who?")
    };
    let [first, second] = *vips;
    let asked = || {
        [
            ask(second, SOON).is_ok(),
            ask(first, Duration::from_millis(300)).is_ok(),
            ask(second, SOON).is_ok(),
        ]
    };
    let answered = topology.client.namespace.enter(asked).unwrap();
    assert_eq!(answered, [true, false, true]);
    assert_eq!(dropped(&xlb, "nat_collision"), 1);
}

/// Each had it, and one of them has another one now; or the one gets it in the moment in which the other loses it. Each
/// is the one that was there first.
#[test]
fn a_backend_that_one_of_two_services_loses_keeps_its_connections() {
    for family in Family::ALL {
        for (loses, is_shared) in [(0, true), (1, true), (0, false), (1, false)] {
            let shared = Shared::new(family);
            let Shared { topology, vips, .. } = &shared;
            let [b1, b2] = [0, 1].map(|index| {
                let backend: &Host = &topology.backends[index];
                SocketAddr::new(backend.link.address.of(family), 8053)
            });
            let _other_server = Servers::start(&topology.backends[1], 2, &[], &[8053]);
            let mut before = [[b1], [b1]];
            if !is_shared {
                before[1 - loses] = [b2];
            }
            let mut after = [[b1], [b1]];
            after[loses] = [b2];
            let file =
                |[one, other]: &[[SocketAddr; 1]; 2]| two_services(topology, *vips, [one, other]);
            let xlb = start_with(topology, &file(&before));
            let client = &topology.client.namespace;
            let open = || vips.map(|vip| [(); 20].map(|()| Connection::open(vip).unwrap()));
            let mut held = client.enter(open).unwrap();
            fs::write(xlb.config_file(), file(&after)).unwrap();
            xlb.json(&["apply"]).unwrap();
            let whole = || {
                let mut held = held.as_flattened_mut().iter_mut();
                held.all(|connection| connection.returns(&[7; 3000]).unwrap())
            };
            assert!(client.enter(whole).unwrap(), "{loses} {is_shared}");
            for (vip, [backend]) in vips.iter().zip(after) {
                let name = server(topology, Protocol::Tcp, *vip).unwrap();
                assert_eq!(name, if backend == b1 { "b1:8053" } else { "b2:8053" });
            }
            assert!(
                client
                    .enter(|| held
                        .as_flattened_mut()
                        .iter_mut()
                        .all(|it| it.returns(&[8; 3000]).unwrap()))
                    .unwrap()
            );
            damage::assert_none(topology).unwrap();
            nothing_was_dropped(&xlb);
        }
    }
}
