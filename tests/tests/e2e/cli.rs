//! The command line on a running daemon: what it does, what it prints, how it ends.

use lb_tests::{config::Service, daemon::Xlb, fleet::Fleet};
use lb_userspace::lab::Topology;
use serde_json::Value;

use crate::{
    page::sample,
    site::{backend, routed, service, start, wait_for_state},
};

/// Does something with a backend of `web`; what was done.
fn change(xlb: &Xlb<'_>, verb: &str, words: &[&str]) -> Value {
    let words = [&["backend", verb, "web"], words].concat();
    xlb.json(&words).unwrap()["items"][0].take()
}

#[test]
fn backends_are_taken_out_and_put_back_by_hand() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let all = service(&xlb, "web")["slots"].clone();

    for verb in ["drain", "maint"] {
        let changed = change(&xlb, verb, &["b1"]);
        assert_eq!(changed["changed"], true);
        assert_eq!(changed["slots"], all);
        let out = backend(&xlb, "web", "b1");
        assert_eq!((&out["admin"], &out["slots"]), (&verb.into(), &0.into()));
        assert_eq!(change(&xlb, verb, &["b1"])["changed"], false, "again");
        change(&xlb, "ready", &["10.0.0.11:8080"]);
        wait_for_state(&xlb, "web", "b1", "up");
        assert_eq!(backend(&xlb, "web", "b1")["admin"], "ready");
    }

    change(&xlb, "weight", &["10.0.0.12", "0"]);
    assert_eq!(backend(&xlb, "web", "b2")["slots"], 0);
    change(&xlb, "reset", &["b2"]);
    let back = backend(&xlb, "web", "b2");
    assert_eq!(
        (&back["weight"], &back["override"]),
        (&1.into(), &Value::Null)
    );
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let topology = Topology::two_armed(routed()).unwrap();
    let unprobed = Service {
        probe: "none",
        ..Service::WEB
    };
    let mut xlb = start(&topology, &[unprobed]);
    let cases: [(&[&str], i32); 10] = [
        (&["status"], 0),
        (&["backend", "list"], 0),
        (&["backend", "add", "web", "10.0.0.99:0"], 2),
        (&["backend", "weight", "web", "b1", "1001"], 2),
        (&["frobnicate"], 2),
        (&["apply", "-c", "/nonexistent"], 3),
        (&["backend", "drain", "web", "b9"], 5),
        (&["service", "show", "nothing"], 5),
        (&["backend", "drain", "web", "b1"], 0),
        (&["backend", "drain", "web", "b2"], 0),
    ];
    for (words, code) in cases {
        exits(&xlb, words, code);
    }
    exits(&xlb, &["status", "--exit-code"], 8);
    exits(&xlb, &["backend", "maint", "web", "b3"], 6);
    assert_eq!(backend(&xlb, "web", "b3")["admin"], "ready", "unchanged");
    exits(&xlb, &["backend", "maint", "web", "b3", "--force"], 0);
    exits(&xlb, &["status", "--wait", "1s"], 7);
    xlb.terminate().unwrap();
    exits(&xlb, &["status"], 4);
    exits(&xlb, &["run", "-c", "/nonexistent"], 3);
}

/// Runs a verb, in tables and in JSON, and asserts how it ends. An error says something on standard
/// error and, in JSON, which it was.
fn exits(xlb: &Xlb<'_>, words: &[&str], code: i32) {
    let json = [words, &["-o", "json"]].concat();
    let output = xlb.cli(&json).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    if (3..=7).contains(&code) {
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(error["error"]["code"].is_string(), "{words:?}: {error}");
        assert!(!said.trim().is_empty(), "{words:?}");
    }
}

/// Documented keys, which other programs rely on.
#[test]
fn json_has_what_is_promised() {
    let topology = Topology::two_armed(routed()).unwrap();
    let xlb = start(&topology, &[Service::NAMES]);
    let status = xlb.json(&["status"]).unwrap();
    assert_eq!(
        (&status["schema"], &status["kind"]),
        (&"xlb/v1".into(), &"Status".into())
    );
    has(&status, &["revision", "interfaces", "services"]);
    has(&status["interfaces"][0], &["name", "mode", "program_id"]);
    let service = [
        "name",
        "vip",
        "up",
        "backends_up",
        "backends_total",
        "table_checksum",
    ];
    has(&status["services"][0], &service);
    let list = xlb.json(&["backend", "list"]).unwrap();
    assert_eq!(list["kind"], "BackendList");
    let backend = [
        "service", "name", "address", "weight", "state", "admin", "packets", "bytes",
    ];
    has(&list["items"][0], &backend);
}

fn has(item: &Value, keys: &[&str]) {
    for key in keys {
        assert!(item.get(key).is_some(), "no {key} in {item}");
    }
}

#[test]
fn the_metrics_page_has_what_is_promised() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let page = format!("http://{}/", Service::WEB.vip(&topology));
    let curl = ["curl", "-sSf", &page];
    topology.client.namespace.run(curl).unwrap();
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");

    let of = |family: &str, name: &str| {
        let labels = format!("{{service=\"web\",backend=\"{name}\"}}");
        sample(&xlb, &format!("{family}{labels}"))
    };
    let up = ["b1", "b2", "b3"].map(|name| of("xlb_backend_up", name));
    assert_eq!(up, [1, 0, 1]);
    for family in ["xlb_backend_packets_total", "xlb_backend_bytes_total"] {
        let sum: u64 = ["b1", "b2", "b3"].map(|name| of(family, name)).iter().sum();
        assert!(sum > 0, "{family}");
    }
    assert_eq!(sample(&xlb, "xlb_service_up{service=\"web\"}"), 1);
    let text = xlb.metrics().unwrap();
    assert!(text.contains("xlb_probe_duration_seconds"), "{text}");
    // Every reason, also those that have not happened.
    for reason in ["no_backend", "no_such_port", "forged_backend", "martian"] {
        assert!(text.contains(&format!("reason=\"{reason}\"")), "{reason}");
    }
}
