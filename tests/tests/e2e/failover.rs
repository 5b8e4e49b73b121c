//! Backends die and return. What the others serve goes on.
#![expect(clippy::disallowed_types, reason = "real connections take real time")]

use std::{
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    config::Service,
    fleet::Fleet,
    load::{Fresh, Held, Load},
    wait::eventually,
};
use lb_userspace::lab::Topology;

use crate::{
    page::{dropped, sample},
    site::{SOON, connects, routed, start, wait_for_state, wait_until_whole},
};

/// By then a backend that died at the beginning must have been found out, however busy the machine.
const FOUND_OUT: Duration = Duration::from_secs(3);

/// A connection that was begun this long before a death may die with it.
const UNDER_WAY: Duration = Duration::from_millis(100);

#[test]
fn a_death_is_found_out_and_breaks_nothing_else() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let (client, vip) = (&topology.client.namespace, Service::WEB.vip(&topology));
    let held = Held::open(client, vip, 60).unwrap();
    let before = ["b1", "b2", "b3"].map(|name| held.open_to(name));
    assert!(before.iter().all(|open| *open > 0), "{before:?}");
    let held = Load::start(client, held, Duration::from_millis(10)).unwrap();
    let fresh = Load::start(client, Fresh::new(vip), Duration::from_millis(2)).unwrap();
    thread::sleep(Duration::from_millis(300));

    let death = Instant::now();
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    thread::sleep(FOUND_OUT.saturating_sub(death.elapsed()) + Duration::from_secs(1));

    let revival = Instant::now();
    fleet.revive(&topology, 2).unwrap();
    wait_until_whole(&xlb);
    thread::sleep(Duration::from_millis(500));

    let fresh = fresh.stop().unwrap();
    let after = |at: &Instant| at.saturating_duration_since(death);
    let last = fresh
        .failed
        .iter()
        .map(|failure| after(&failure.began))
        .max();
    println!(
        "{} connections, {} refused, the last one {last:?} after the death",
        fresh.served.len(),
        fresh.failed.len()
    );
    let early = |began: Instant| began + UNDER_WAY < death;
    assert!(!fresh.failed.iter().any(|failure| early(failure.began)));
    assert!(last.is_none_or(|last| last < FOUND_OUT), "{last:?}");
    assert!(fresh.served_by("b2", revival), "b2 takes connections again");

    let held = held.stop().unwrap();
    for failure in &held.broken {
        assert_eq!(failure.server.as_deref(), Some("b2"), "{failure}");
    }
    let left = ["b1", "b2", "b3"].map(|name| held.open_to(name));
    assert_eq!(left, [before[0], 0, before[2]]);
}

/// Nobody refuses: connections run into silence, and so do the probes.
#[test]
fn a_host_that_vanishes_is_found_out() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let (client, vip) = (&topology.client.namespace, Service::WEB.vip(&topology));
    topology.switch.ip(["link set b2 down"]).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    for _ in 0..50 {
        assert!(connects(client, vip));
    }
    topology.switch.ip(["link set b2 up"]).unwrap();
    wait_for_state(&xlb, "web", "b2", "up");
}

#[test]
fn a_service_without_a_live_backend_drops_and_says_so() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let (client, vip) = (&topology.client.namespace, Service::WEB.vip(&topology));
    let up = "xlb_service_up{service=\"web\"}";
    assert_eq!(sample(&xlb, up), 1);
    assert!(connects(client, vip));

    (1..=3).for_each(|number| fleet.kill(number).unwrap());
    eventually("the service is down", SOON, || {
        (sample(&xlb, up) == 0).then_some(())
    })
    .unwrap();
    let before = dropped(&xlb, "no_backend");
    assert!(!connects(client, vip));
    assert!(dropped(&xlb, "no_backend") > before);

    fleet.revive(&topology, 3).unwrap();
    wait_for_state(&xlb, "web", "b3", "up");
    assert_eq!(sample(&xlb, up), 1);
    assert!(connects(client, vip));
}
