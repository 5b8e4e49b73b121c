//! What becomes of connections whose backend dies.

use std::{io, net::SocketAddr, thread, time::Duration};

use lb_tests::{config::Service, daemon::Xlb, fleet::Fleet, load::Held, wait::eventually};
use lb_userspace::lab::{Family, Namespace, Topology};

use crate::{
    page::sample,
    site::{SOON, routed, start, wait_for_state},
    transitions::{NAMES, hold, moving_rows, unbroken},
};

const RESETS: Service<'_> = Service {
    more: &["on_down: reset", "idle: 4s"],
    ..Service::WEB
};

/// Lets a backend hear nothing any more: of these packets, or of all.
fn deafen(backend: &Namespace, which: &str) {
    let rule = format!(
        "add table inet deaf {{ chain in {{ type filter hook input priority 0; {which} drop; }}; }}"
    );
    backend.run(["nft", &rule]).unwrap();
}

fn heal(backend: &Namespace) {
    backend.run(["nft", "delete table inet deaf"]).unwrap();
}

fn resets(xlb: &Xlb<'_>) -> u64 {
    sample(xlb, "xlb_answered_packets_total{reason=\"reset\"}")
}

/// Connections to a backend that does not answer probes any more, but lives, stay there.
#[test]
fn a_service_may_keep_the_flows_of_what_is_down() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let keeps = Service {
        more: &["on_down: keep", "idle: 2s"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[keeps]);
    let (client, vip) = (&topology.client.namespace, keeps.vip(&topology));
    let (held, before) = hold(client, vip);
    let b2 = &topology.backends[1].namespace;
    deafen(b2, "tcp flags syn tcp dport 8080");
    wait_for_state(&xlb, "web", "b2", "down");
    thread::sleep(Duration::from_secs(4));
    heal(b2);
    wait_for_state(&xlb, "web", "b2", "up");
    assert_eq!(unbroken(&held.stop().unwrap()), before);
}

/// A backend falls silent: its clients are told at once, and nobody else notices.
fn tells_the_clients_of_the_dead(service: Service<'_>) {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[service]);
    let (client, vip) = (&topology.client.namespace, service.vip(&topology));
    let (held, before) = hold(client, vip);
    assert_eq!(resets(&xlb), 0);
    deafen(&topology.backends[1].namespace, "");
    wait_for_state(&xlb, "web", "b2", "down");
    let told = || (resets(&xlb) >= before[1] as u64).then_some(());
    eventually("every client of b2 is told", SOON, told).unwrap();
    // Some may be told twice; within this time every connection is asked.
    thread::sleep(Duration::from_secs(1));
    let fresh = Held::open(client, vip, 20).unwrap();
    assert_eq!(fresh.open_to("b2"), 0);

    let held = held.stop().unwrap();
    let left = NAMES.map(|name| held.open_to(name));
    assert_eq!(left, [before[0], 0, before[2]]);
    for broken in &held.broken {
        assert_eq!(broken.server.as_deref(), Some("b2"), "{broken:?}");
        assert!(
            broken.error.kind() == io::ErrorKind::ConnectionReset,
            "{broken}"
        );
    }
    let rest = || (moving_rows(&xlb) == 0).then_some(());
    eventually("the rows come to rest", SOON, rest).unwrap();
    assert_eq!(
        sample(&xlb, "xlb_rehashed_flows_estimate_total{service=\"web\"}"),
        0
    );
}

#[test]
fn a_service_may_reset_the_connections_of_the_dead() {
    tells_the_clients_of_the_dead(RESETS);
}

#[test]
fn a_service_may_reset_connections_over_ipv6() {
    tells_the_clients_of_the_dead(Service {
        family: Family::V6,
        ..RESETS
    });
}

/// Others have them then, who know nothing of them. How many those were is estimated.
#[test]
fn flows_that_go_to_others_are_estimated() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let vip: SocketAddr = Service::WEB.vip(&topology);
    let (held, before) = hold(&topology.client.namespace, vip);
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    let rest = || (moving_rows(&xlb) == 0).then_some(());
    eventually("the rows are not watched any more", SOON, rest).unwrap();
    let estimate = sample(&xlb, "xlb_rehashed_flows_estimate_total{service=\"web\"}");
    println!("{} flows, estimated as {estimate}", before[1]);
    let held = held.stop().unwrap();
    assert_eq!(held.broken.len(), before[1]);
    drop(fleet);
}
