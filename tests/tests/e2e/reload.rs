//! The file changes while xlb runs: all of it counts or, where it has a mistake, nothing.

use std::{fs, time::Duration};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::Fleet,
    load::{Datagrams, Held, Load},
    wait::eventually,
};
use lb_userspace::lab::Topology;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    page::sample,
    site::{
        SOON, backend, checksum, connects, routed, service, start, start_with, wait_until_whole,
    },
};

/// Backends that count as up, whether there is a server or not.
const UNPROBED: Service<'_> = Service {
    probe: "none",
    ..Service::WEB
};

const RELOADED: &str = "xlb_config_last_reload_successful";

/// Writes xlb's own file anew.
fn write(xlb: &Xlb<'_>, file: &str) {
    fs::write(xlb.config_file(), file).unwrap();
}

/// Applies xlb's own file; what was done.
fn apply(xlb: &Xlb<'_>) -> Value {
    xlb.json(&["apply"]).unwrap()["items"][0].take()
}

fn revision(xlb: &Xlb<'_>) -> u64 {
    xlb.json(&["status"]).unwrap()["revision"].as_u64().unwrap()
}

/// Slots of backends by weight.
fn slots(xlb: &Xlb<'_>, names: &[&str]) -> Vec<u64> {
    let slots = |name: &&str| backend(xlb, "web", name)["slots"].as_u64().unwrap();
    names.iter().map(slots).collect()
}

#[test]
fn a_bad_file_changes_nothing() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[Service::WEB]);
    let good = config::yaml(&topology, &[Service::WEB]);
    let before = (checksum(&xlb, "web"), revision(&xlb));

    write(&xlb, &good.replace("weight: 1", "weight: 1001"));
    let refused = xlb.cli(&["apply"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.matches("1001").count() >= 3, "every mistake: {said}");
    assert_eq!(sample(&xlb, RELOADED), 0);

    xlb.process().signal(Signal::SIGHUP).unwrap();
    let refusals = || (xlb.log().matches("refused").count() >= 2).then_some(());
    eventually("the signal is heard", SOON, refusals).unwrap();
    assert_eq!((checksum(&xlb, "web"), revision(&xlb)), before);
    let client = &topology.client.namespace;
    assert!(connects(client, Service::WEB.vip(&topology)));

    write(&xlb, &good);
    assert_eq!(apply(&xlb)["changed"], false);
    assert_eq!(sample(&xlb, RELOADED), 1);
}

#[test]
fn a_file_from_elsewhere_is_applied() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let moved = Service {
        port: 88,
        ..Service::WEB
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.yaml");
    fs::write(&file, config::yaml(&topology, &[moved])).unwrap();
    let file = file.to_str().unwrap();
    let applied = xlb.json(&["apply", "-c", file]).unwrap();
    assert_eq!(applied["items"][0]["changed"], true, "{applied}");
    let client = &topology.client.namespace;
    eventually("the new VIP answers", SOON, || {
        connects(client, moved.vip(&topology)).then_some(())
    })
    .unwrap();
    assert!(!connects(client, Service::WEB.vip(&topology)));
}

#[test]
fn an_unchanged_file_is_no_change() {
    let topology = Topology::two_armed(routed()).unwrap();
    let xlb = start(&topology, &[UNPROBED]);
    let before = revision(&xlb);
    let applied = apply(&xlb);
    assert_eq!(applied["changed"], false);
    assert_eq!(applied["slots_moved"], 0);
    assert_eq!(revision(&xlb), before);
}

#[test]
fn a_hangup_reads_the_file_again() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut xlb = start(&topology, &[UNPROBED]);
    let heavier = Service {
        weights: &[1, 1, 2],
        ..UNPROBED
    };
    write(&xlb, &config::yaml(&topology, &[heavier]));
    xlb.process().signal(Signal::SIGHUP).unwrap();
    eventually("b3 owns half", SOON, || {
        (slots(&xlb, &["b1", "b2", "b3"]) == [1024, 1024, 2048]).then_some(())
    })
    .unwrap();
}

/// Connections and datagrams go on while files are applied to an instance that has these two services.
fn others_go_on_while(change: impl FnOnce(&Topology, &Xlb<'_>)) {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB, Service::NAMES]);
    let client = &topology.client.namespace;
    let held = Held::open(client, Service::WEB.vip(&topology), 40).unwrap();
    let datagrams = Datagrams::new(client, Service::NAMES.vip(&topology), 30).unwrap();
    let pause = Duration::from_millis(1);
    let held = Load::start(client, held, pause).unwrap();
    let datagrams = Load::start(client, datagrams, pause).unwrap();
    change(&topology, &xlb);
    let (held, datagrams) = (held.stop().unwrap(), datagrams.stop().unwrap());
    assert!(held.broken.is_empty(), "{:?}", held.broken);
    assert!(datagrams.failed.is_empty(), "{:?}", datagrams.failed);
}

/// Services that a reload does not name keep every connection.
#[test]
fn a_reload_leaves_other_services_alone() {
    others_go_on_while(|topology, xlb| {
        for port in 100..110 {
            let other = Service {
                name: "other",
                port,
                backend_port: 8081,
                ..UNPROBED
            };
            let services = [other, Service::WEB, Service::NAMES];
            write(xlb, &config::yaml(topology, &services));
            assert_eq!(apply(xlb)["changed"], true);
        }
    });
}

/// Where maps have become too small, larger ones take their place under whatever goes through them, and what changes
/// later changes at its place.
#[test]
fn services_that_come_one_by_one_leave_others_alone() {
    const NAMES: [&str; 8] = ["o0", "o1", "o2", "o3", "o4", "o5", "o6", "o7"];
    others_go_on_while(|topology, xlb| {
        let maps = bytes_of_maps(xlb);
        let other = |name, port, backend_port| Service {
            name,
            port,
            backend_port,
            ..UNPROBED
        };
        let mut services = vec![Service::WEB, Service::NAMES];
        for (name, port) in NAMES.into_iter().zip(8100..) {
            services.push(other(name, port, port));
            services.insert(0, other("moves", port + 100, 8081));
            write(xlb, &config::yaml(topology, &services));
            assert_eq!(apply(xlb)["changed"], true);
            services.remove(0);
        }
        assert!(bytes_of_maps(xlb) > maps, "the maps grew");
    });
}

fn bytes_of_maps(xlb: &Xlb<'_>) -> u64 {
    let status = xlb.json(&["status"]).unwrap();
    let maps = status["maps"].as_array().unwrap().iter();
    maps.map(|map| map["bytes"].as_u64().unwrap()).sum()
}

#[test]
fn every_backend_owns_its_quota() {
    let topology = Topology::two_armed(routed()).unwrap();
    let xlb = start(&topology, &[UNPROBED]);
    for weights in [[1, 1, 1], [1, 2, 3], [1000, 1, 7], [5, 0, 5], [13, 17, 19]] {
        let service = Service {
            weights: &weights,
            ..UNPROBED
        };
        write(&xlb, &config::yaml(&topology, &[service]));
        apply(&xlb);
        owns_floor_or_ceiling(&xlb, &["b1", "b2", "b3"], &weights);
    }
}

#[test]
fn quotas_follow_backends_that_come_and_go_by_hand() {
    let topology = Topology::two_armed(routed()).unwrap();
    let xlb = start(&topology, &[UNPROBED]);
    let change = |words: &[&str]| xlb.json(&[&["backend"], words].concat()).unwrap();
    change(&[
        "add",
        "web",
        "10.0.0.14:8080",
        "--name",
        "b4",
        "--weight",
        "5",
    ]);
    owns_floor_or_ceiling(&xlb, &["b1", "b2", "b3", "b4"], &[1, 1, 1, 5]);
    change(&["weight", "web", "b1", "3"]);
    owns_floor_or_ceiling(&xlb, &["b1", "b2", "b3", "b4"], &[3, 1, 1, 5]);
    change(&["remove", "web", "b2"]);
    owns_floor_or_ceiling(&xlb, &["b1", "b3", "b4"], &[3, 1, 5]);
}

/// Asserts that each backend owns the floor or the ceiling of its share of all slots.
fn owns_floor_or_ceiling(xlb: &Xlb<'_>, names: &[&str], weights: &[u16]) {
    let all = service(xlb, "web")["slots"].as_u64().unwrap();
    let owned = slots(xlb, names);
    assert_eq!(owned.iter().sum::<u64>(), all);
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    for (owned, weight) in owned.iter().zip(weights) {
        let share = all * u64::from(*weight);
        let quota = share / sum..=share.div_ceil(sum);
        assert!(quota.contains(owned), "{weights:?}: {owned} of {all}");
    }
}

/// Whatever happened before, the table is a function of file, seed and states.
#[test]
fn equal_files_make_equal_tables() {
    let topologies = [(); 2].map(|()| Topology::two_armed(routed()).unwrap());
    let file = |weights| {
        let service = Service {
            weights,
            ..UNPROBED
        };
        let file = config::yaml(&topologies[0], &[service]);
        format!("hash_seed: fleet-1\n{file}")
    };
    let one = start_with(&topologies[0], &file(&[2, 3, 4]));
    let other = start_with(&topologies[1], &file(&[9, 1]));
    assert_ne!(checksum(&one, "web"), checksum(&other, "web"));

    let change = |xlb: &Xlb<'_>, words: &[&str]| {
        xlb.json(&[&["backend"], words].concat()).unwrap();
    };
    change(&other, &["drain", "web", "b1"]);
    write(&other, &file(&[2, 3, 4]));
    apply(&other);
    change(&other, &["ready", "web", "b1"]);
    assert_eq!(checksum(&one, "web"), checksum(&other, "web"));

    for backend in ["b1", "b3"] {
        change(&one, &["drain", "web", backend]);
    }
    for backend in ["b3", "b1"] {
        change(&other, &["maint", "web", backend]);
    }
    assert_eq!(checksum(&one, "web"), checksum(&other, "web"));
}

#[test]
fn without_a_seed_in_the_file_no_two_instances_agree() {
    let topologies = [(); 2].map(|()| Topology::two_armed(routed()).unwrap());
    let [one, other] = topologies.each_ref().map(|t| start(t, &[UNPROBED]));
    assert_ne!(checksum(&one, "web"), checksum(&other, "web"));
}

#[test]
fn what_was_set_by_hand_survives_reload_and_restart() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut xlb = start(&topology, &[UNPROBED]);
    xlb.json(&["backend", "weight", "web", "b1", "7"]).unwrap();
    xlb.json(&["backend", "drain", "web", "b2"]).unwrap();
    let by_hand = |xlb: &Xlb<'_>| {
        assert_eq!(backend(xlb, "web", "b1")["weight"], 7);
        assert_eq!(backend(xlb, "web", "b2")["admin"], "drain");
    };
    let heavier = Service {
        weights: &[2, 2, 2],
        ..UNPROBED
    };
    write(&xlb, &config::yaml(&topology, &[heavier]));
    apply(&xlb);
    by_hand(&xlb);
    xlb.terminate().unwrap();
    xlb.start_again().unwrap();
    by_hand(&xlb);
    for backend in ["b1", "b2"] {
        xlb.json(&["backend", "reset", "web", backend]).unwrap();
    }
    assert_eq!(backend(&xlb, "web", "b1")["weight"], 2);
    wait_until_whole(&xlb);
}
