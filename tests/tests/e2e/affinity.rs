//! Clients that stay with one backend, whatever their ports.

use std::{thread, time::Duration};

use lb_tests::{config::Service, fleet::Fleet, load::Held};
use lb_userspace::lab::{Namespace, Topology};

use crate::{
    site::{nothing_was_dropped, routed, start},
    transitions::{NAMES, change},
};

const STICKS: Service<'_> = Service {
    more: &["affinity: { by: source, timeout: 3s }"],
    ..Service::WEB
};

/// The only backend that new connections reach.
fn only(client: &Namespace, service: Service<'_>, topology: &Topology) -> &'static str {
    let held = Held::open(client, service.vip(topology), 30).unwrap();
    let mut found = NAMES.into_iter().filter(|name| held.open_to(name) > 0);
    let only = found.next().unwrap();
    assert_eq!(found.next(), None, "two backends for one client");
    only
}

#[test]
fn a_client_stays_with_its_backend_also_while_tables_change() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[STICKS]);
    let client = &topology.client.namespace;
    let first = only(client, STICKS, &topology);

    // New connections of a client that is known go where it was: a drain waits for clients.
    change(&xlb, &["drain", "web", first]);
    for _ in 0..8 {
        assert_eq!(only(client, STICKS, &topology), first);
        thread::sleep(Duration::from_secs(1));
    }
    // One that was silent for so long is new.
    thread::sleep(Duration::from_secs(6));
    let second = only(client, STICKS, &topology);
    assert_ne!(second, first);

    change(&xlb, &["ready", "web", first]);
    for _ in 0..5 {
        assert_eq!(
            only(client, STICKS, &topology),
            second,
            "it stays there, too"
        );
        thread::sleep(Duration::from_secs(1));
    }
    nothing_was_dropped(&xlb);
}
