//! What most tests start with, and the questions that they ask.

use std::{
    net::{SocketAddr, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    wait::eventually,
};
use lb_userspace::lab::{Namespace, Options, Topology};
use serde_json::Value;

/// Long enough for anything that is going to happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Clients behind a router, the balancer's default gateway; it does not forward.
pub(crate) fn routed() -> Options {
    Options {
        router: true,
        ..Options::default()
    }
}

/// Starts xlb in front of a topology's backends, and waits until every service is up.
pub(crate) fn start<'a>(topology: &'a Topology, services: &[Service<'_>]) -> Xlb<'a> {
    start_with(topology, &config::yaml(topology, services))
}

/// The same with a file.
pub(crate) fn start_with<'a>(topology: &'a Topology, file: &str) -> Xlb<'a> {
    start_at(&topology.balancer.namespace, file)
}

/// The same on any host.
pub(crate) fn start_at<'n>(balancer: &'n Namespace, file: &str) -> Xlb<'n> {
    let xlb = Xlb::start(balancer, file).unwrap();
    wait_until_whole(&xlb);
    wait_for_neighbours(balancer);
    xlb
}

/// Waits until every neighbour has answered that xlb has the kernel look after: services without
/// probes are up before.
fn wait_for_neighbours(balancer: &Namespace) {
    let known = || {
        let shown = balancer.run(["ip", "neigh"]).unwrap();
        let mut managed = shown.lines().filter(|line| line.contains("managed"));
        managed.all(|line| line.contains("lladdr")).then_some(())
    };
    eventually("neighbours answer", SOON, known).unwrap();
}

/// Waits until every backend of every service takes flows.
pub(crate) fn wait_until_whole(xlb: &Xlb<'_>) {
    let whole = || {
        let status = xlb.cli(&["status", "--exit-code"]).unwrap();
        status.status.success().then_some(())
    };
    eventually("every backend is up", SOON, whole).unwrap_or_else(|error| {
        panic!("{error}\n{}", xlb.log());
    });
}

/// Waits until probes say `state` of a backend.
pub(crate) fn wait_for_state(xlb: &Xlb<'_>, service: &str, backend: &str, state: &str) {
    let reached = || (self::backend(xlb, service, backend)["state"] == state).then_some(());
    eventually(&format!("{backend} is {state}"), SOON, reached).unwrap();
}

/// A backend, as `xlb backend list` tells.
pub(crate) fn backend(xlb: &Xlb<'_>, service: &str, name: &str) -> Value {
    let list = xlb.json(&["backend", "list", service]).unwrap();
    let items = list["items"].as_array().unwrap();
    let found = items.iter().find(|item| item["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {list}"))
        .clone()
}

/// A service, as `xlb status` tells.
pub(crate) fn service(xlb: &Xlb<'_>, name: &str) -> Value {
    let status = xlb.json(&["status"]).unwrap();
    let items = status["services"].as_array().unwrap();
    let found = items.iter().find(|item| item["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {status}"))
        .clone()
}

/// The checksum of a service's slot table.
pub(crate) fn checksum(xlb: &Xlb<'_>, name: &str) -> String {
    service(xlb, name)["table_checksum"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Whether a TCP connection can be made from a namespace.
pub(crate) fn connects(from: &Namespace, to: SocketAddr) -> bool {
    let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(500)).is_ok();
    from.enter(connect).unwrap()
}

/// Sends datagrams from an address of a namespace to another address.
pub(crate) fn send(from: &Namespace, source: SocketAddr, to: SocketAddr, datagrams: usize) {
    let work = || {
        let socket = UdpSocket::bind(source).unwrap();
        for _ in 0..datagrams {
            socket.send_to(b"?", to).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    };
    from.enter(work).unwrap();
}

/// Asserts that xlb dropped nothing, and that every interface is native.
pub(crate) fn nothing_was_dropped(xlb: &Xlb<'_>) {
    nothing_was_dropped_but(xlb, &[]);
}

/// The same, but for packets that may have been dropped for one of these reasons.
pub(crate) fn nothing_was_dropped_but(xlb: &Xlb<'_>, reasons: &[&str]) {
    let status = xlb.json(&["status"]).unwrap();
    for drop in status["drops"].as_array().unwrap() {
        let is_expected = reasons.iter().any(|reason| drop["reason"] == *reason);
        assert!(is_expected || drop["packets"] == 0, "{drop}");
    }
    for interface in status["interfaces"].as_array().unwrap() {
        assert_eq!(interface["mode"], "native", "{interface}");
    }
}
