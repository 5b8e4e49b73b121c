//! The network changes around xlb: it follows what the kernel learns.

use lb_tests::{config::Service, fleet::Fleet, load::Connection, wait::eventually};
use lb_userspace::lab::{Namespace, Topology};

use crate::site::{SOON, routed, start, wait_until_whole};

/// Opens a connection from the client; who serves it.
fn open(topology: &Topology) -> Option<String> {
    let vip = Service::WEB.vip(topology);
    let connection = topology.client.namespace.enter(|| Connection::open(vip));
    Some(connection.unwrap().ok()?.name)
}

/// Waits until a number of connections in a row are served.
fn serves(topology: &Topology) {
    let all = || (0..30).all(|_| open(topology).is_some()).then_some(());
    eventually("connections are served", 3 * SOON, all).unwrap();
}

/// Waits until a backend serves a connection.
fn served_by(topology: &Topology, name: &str) {
    let theirs = || open(topology).filter(|server| server == name);
    eventually(&format!("{name} serves"), SOON, theirs).unwrap();
}

/// Changes the MAC address of a host's interface, which announces it: a gratuitous ARP, as a machine
/// sends that takes over the address of another.
fn replace(host: &Namespace, interface: &str) {
    let announce = format!("net/ipv4/conf/{interface}/arp_notify");
    host.sysctl(&announce, "1").unwrap();
    host.ip([format!("link set {interface} address 02:00:00:00:00:99")])
        .unwrap();
}

#[test]
fn a_backend_gets_another_mac_address() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    serves(&topology);
    replace(&topology.backends[1].namespace, "eth0");
    serves(&topology);
    // Whether its connections came too late for a probe or not.
    wait_until_whole(&xlb);
    served_by(&topology, "b2");
}

#[test]
fn the_gateway_towards_clients_gets_another_mac_address() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let _xlb = start(&topology, &[Service::WEB]);
    serves(&topology);
    let router = &topology.router.as_ref().unwrap().namespace;
    replace(router, "back0");
    serves(&topology);
}

#[test]
fn clients_move_behind_another_gateway() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let _xlb = start(&topology, &[Service::WEB]);
    serves(&topology);
    let router = topology.router.as_ref().unwrap();
    let balancer = &topology.balancer.namespace;
    // The old one is gone: who does not follow loses every reply.
    let (old, new) = (router.back.address.v4, "192.0.2.200");
    let there = [
        format!("addr del {old}/24 dev back0"),
        format!("addr add {new}/24 dev back0"),
        format!(
            "route replace default via {}",
            topology.balancer.front.address.v4
        ),
    ];
    router.namespace.ip(there).unwrap();
    balancer
        .ip([format!("route replace 0.0.0.0/0 via {new}")])
        .unwrap();
    serves(&topology);
}
