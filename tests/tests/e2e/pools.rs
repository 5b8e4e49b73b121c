//! Backends that are reached in different modes, at once or one after the other.

use std::{fs, time::Duration};

use lb_tests::{
    config, damage,
    load::{Fresh, Load},
};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Host, Options, Topology, WayBack},
};

use crate::{
    backends::{
        Backends, datagrams_are_whole_both_ways, first, fragments_are_put_together_both_ways,
        names, pages_are_whole_both_ways, served_by, web,
    },
    site::{nothing_was_dropped_but, start_with},
};

/// Each backend is reached in a mode of its own.
const MODES: [&str; 5] = ["nat", "full-nat", "l2-dsr", "ipip", "gue"];

/// Sends what a host answers from its own addresses by the balancer, and from a VIP by the router.
fn answer_both_ways(topology: &Topology, host: &Host) {
    topology.answer_by(host, WayBack::Balancer).unwrap();
    let router = topology.shortcut.as_ref().unwrap();
    for (family, option) in [(Family::V4, "-4"), (Family::V6, "-6")] {
        let [vip, via] = [topology.vip, router.address].map(|pair| pair.of(family).to_string());
        let route = ["route", "add", "default", "via", &via, "table", "100"];
        let rule = ["rule", "add", "from", &vip, "lookup", "100"];
        for words in [&route[..], &rule] {
            let words = [&["ip", option], words].concat();
            host.namespace.run(words).unwrap();
        }
    }
}

#[test]
fn one_pool_has_a_backend_in_every_mode() {
    let topology = Topology::two_armed(Options {
        backends: 4,
        far: 1,
        way_back: WayBack::Router,
        ..Options::default()
    })
    .unwrap();
    let backends = Backends::for_all_modes(&topology);
    topology
        .answer_by(&topology.backends[0], WayBack::Balancer)
        .unwrap();
    let both = Family::ALL.map(|family| {
        [web(family, Mode::Nat), names(family, Mode::Nat)].map(|service| config::Service {
            weights: &[1; 5],
            ..service
        })
    });
    let mut file = config::yaml(&topology, both.as_flattened());
    for (number, mode) in (1..).zip(MODES) {
        file = file.replace(
            &format!("name: b{number},"),
            &format!("name: b{number}, mode: {mode},"),
        );
    }
    let xlb = start_with(&topology, &file);
    for [web, names] in both {
        let [web, names] = [web, names].map(|service: config::Service<'_>| service.vip(&topology));
        assert_eq!(served_by(&topology, web, 100), first(5));
        pages_are_whole_both_ways(&topology, &backends.fleet, web, 1 << 20);
        assert_eq!(datagrams_are_whole_both_ways(&topology, names), first(5));
        assert_eq!(
            fragments_are_put_together_both_ways(&topology, names),
            first(5)
        );
    }
    damage::assert_none(&topology).unwrap();
    // The sender of a first fragment that leaves no room for GUE is told, as it has been told of IPIP
    // only; the rest of that datagram is of nobody's.
    nothing_was_dropped_but(&xlb, &["fragment_early"]);
}

/// Connections that are open break, as another address of the backend takes them over; none that
/// begins later does.
#[test]
fn a_reload_takes_a_service_from_one_mode_to_another_under_load() {
    let topology = Topology::two_armed(Options {
        way_back: WayBack::Router,
        ..Options::default()
    })
    .unwrap();
    let _backends = Backends::for_all_modes(&topology);
    for host in &topology.backends {
        answer_both_ways(&topology, host);
    }
    let client = &topology.client.namespace;
    let vip = web(Family::V4, Mode::Nat).vip(&topology);
    // The second one keeps room for flows that have to be remembered.
    let file = |mode| {
        let service = config::Service {
            weights: &[1; 3],
            ..web(Family::V4, mode)
        };
        let other = config::Service {
            weights: &[1; 3],
            ..names(Family::V4, Mode::FullNat)
        };
        config::yaml(&topology, &[service, other])
    };
    let start = || Load::start(client, Fresh::new(vip), Duration::from_millis(1)).unwrap();
    let xlb = start_with(&topology, &file(Mode::Nat));
    let mut load = start();
    for mode in [Mode::Ipip, Mode::L2Dsr, Mode::FullNat, Mode::Gue, Mode::Nat] {
        assert_eq!(served_by(&topology, vip, 60), first(3));
        fs::write(xlb.config_file(), file(mode)).unwrap();
        xlb.json(&["apply"]).unwrap();
        // What began under the old mode has ended, well or not.
        let old = load.stop().unwrap();
        let word = mode.word();
        println!(
            "to {word}: {} served, {} broken",
            old.served.len(),
            old.failed.len()
        );
        load = start();
        assert_eq!(served_by(&topology, vip, 60), first(3));
        let now = load.stop().unwrap();
        assert!(now.failed.is_empty(), "{word}: {:?}", now.failed);
        load = start();
    }
    damage::assert_none(&topology).unwrap();
}
