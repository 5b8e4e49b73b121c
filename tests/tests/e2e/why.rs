//! What is said of a packet beforehand is what becomes of it, and saying it changes nothing.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use lb_tests::{config::Service, daemon::Xlb, fleet::Fleet, load::ask_udp};
use lb_userspace::lab::{Family, Topology};
use serde_json::Value;

use crate::site::{SOON, backend, routed, start};

/// Asks what becomes of a datagram or SYN.
fn why(xlb: &Xlb<'_>, protocol: &str, from: SocketAddr, to: SocketAddr) -> Value {
    let (from, to) = (from.to_string(), to.to_string());
    xlb.json(&["why", protocol, &from, &to]).unwrap()
}

/// Whom a service over UDP has a client's port with, as it says itself.
fn asked(client: IpAddr, port: u16, vip: SocketAddr) -> String {
    let socket = UdpSocket::bind((client, port)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.connect(vip).unwrap();
    ask_udp(&socket, b"who?").unwrap()
}

#[test]
fn packets_go_where_it_is_said_that_they_go() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::NAMES]);
    let vip = Service::NAMES.vip(&topology);
    let client = topology.client.link.address.of(Family::V4);
    for port in 4000..4008 {
        let said = why(&xlb, "udp", SocketAddr::new(client, port), vip);
        assert_eq!(said["verdict"], "sent", "{said}");
        assert_eq!(said["service"], "names", "{said}");
        let enter = || asked(client, port, vip);
        let name = topology.client.namespace.enter(enter).unwrap();
        assert_eq!(said["backend"], format!("names/{name}"), "{said}");
    }
}

#[test]
fn a_question_is_counted_nowhere() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB, Service::NAMES]);
    let client = SocketAddr::new(topology.client.link.address.of(Family::V4), 4000);
    let vip = topology.vip.of(Family::V4);
    let counted = || {
        let status = xlb.json(&["status"]).unwrap();
        let names = ["b1", "b2", "b3"].map(|name| backend(&xlb, "names", name)["packets"].clone());
        (status["drops"].clone(), names)
    };
    let before = counted();
    let sent = why(&xlb, "udp", client, SocketAddr::new(vip, 53));
    assert_eq!(sent["verdict"], "sent");
    let closed = why(&xlb, "tcp", client, SocketAddr::new(vip, 81));
    assert_eq!(
        (&closed["verdict"], &closed["reason"]),
        (&"dropped".into(), &"no_such_port".into())
    );
    let other = SocketAddr::new(IpAddr::from([198, 51, 100, 200]), 80);
    let passed = why(&xlb, "tcp", client, other);
    assert_eq!(
        (&passed["verdict"], &passed["reason"]),
        (&"passed".into(), &"not_vip".into())
    );
    assert_eq!(counted(), before);
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(counted(), before);
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_sentence() {
    let topology = Topology::two_armed(routed()).unwrap();
    let xlb = start_alone(&topology);
    let (v4, v6) = ("198.51.100.7:1", "[2001:db8::7]:1");
    for (words, code, sentence) in [
        (vec!["udp", v4, v6], 2, "are addresses of two families"),
        (
            vec!["udp", v4, v4, "--interface", "eth9"],
            5,
            "`eth9` is no interface that xlb is attached to",
        ),
        (vec!["sctp", v4, v4], 2, "invalid value 'sctp'"),
        (
            vec!["udp", "198.51.100.7", v4],
            2,
            "invalid value '198.51.100.7'",
        ),
    ] {
        let output = xlb.cli(&[vec!["why"], words].concat()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}

/// Without servers behind it.
fn start_alone(topology: &Topology) -> Xlb<'_> {
    let file = lb_tests::config::yaml(topology, &[Service::NAMES]);
    Xlb::start(&topology.balancer.namespace, &file).unwrap()
}

/// The way, as people read it.
#[test]
fn the_way_is_told_step_by_step() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::NAMES]);
    let vip = Service::NAMES.vip(&topology).to_string();
    let output = xlb.cli(&["why", "udp", "198.51.100.7:4000", &vip]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    for word in ["service", "slot", "backend", "names/b", "sent ("] {
        assert!(said.contains(word), "{said}");
    }
}
