//! Backends that are new, or come back: what they begin as, and how much they get.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::{Fleet, WEB},
    wait::eventually,
};
use lb_userspace::lab::{Family, Host, Topology};
use serde_json::json;

use crate::{
    page::sample,
    site::{SOON, backend, connects, routed, start, wait_for_state, wait_until_whole},
};

fn slots(xlb: &Xlb<'_>, name: &str) -> u64 {
    let labels = format!("service=\"web\",backend=\"{name}\"");
    sample(xlb, &format!("xlb_backend_slots{{{labels}}}"))
}

/// A web server waits for a request, and says nothing.
const IN_VAIN: &str = "{ expect: never, interval: 2s, timeout: 2s, rise: 1, fall: 2, start: up }";

#[test]
fn a_backend_that_starts_up_is_used_until_its_probes_have_failed() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let two = Service {
        probe: IN_VAIN,
        weights: &[1, 1],
        ..Service::WEB
    };
    let file = config::yaml(&topology, &[two]);
    let mut xlb = Xlb::start(&topology.balancer.namespace, &file).unwrap();
    for name in ["b1", "b2"] {
        let begun = backend(&xlb, "web", name);
        assert_eq!(begun["state"], "up", "{begun}");
        assert!(slots(&xlb, name) > 0);
    }
    let served = || connects(&topology.client.namespace, two.vip(&topology)).then_some(());
    eventually("it is served", SOON, served).unwrap();
    let fallen = || {
        let states = ["b1", "b2"].map(|name| backend(&xlb, "web", name));
        states
            .iter()
            .all(|it| it["state"] == "down")
            .then_some(states)
    };
    for fallen in eventually("they fall", SOON, fallen).unwrap() {
        assert_eq!(fallen["transitions"], json!({ "up": 0, "down": 1 }));
        let last = fallen["last_probe"].as_str().unwrap();
        assert!(last.starts_with("tcp timeout x"), "{last}");
    }

    let third = topology.backends[2].link.address.of(Family::V4);
    let third = SocketAddr::new(third, WEB).to_string();
    xlb.json(&["backend", "add", "web", &third, "--name", "b3"])
        .unwrap();
    assert_eq!(backend(&xlb, "web", "b3")["state"], "up");
    assert_eq!(slots(&xlb, "b3"), 4096);

    // What the daemon before knew wins.
    xlb.kill().unwrap();
    xlb.start_again().unwrap();
    assert_eq!(backend(&xlb, "web", "b1")["state"], "down");
    assert_eq!(slots(&xlb, "b1"), 0);
}

/// The names of the events so far, but for those of other kinds than these.
fn told(xlb: &Xlb<'_>, kinds: &[&str]) -> Vec<String> {
    let events = xlb.json(&["events"]).unwrap();
    let items = events["items"].as_array().unwrap().iter();
    let whats = items.filter_map(|event| event["what"].as_str());
    let wanted = whats.filter(|what| kinds.contains(what));
    wanted.map(str::to_owned).collect()
}

fn percent(xlb: &Xlb<'_>, name: &str) -> u64 {
    let labels = format!("service=\"web\",backend=\"{name}\"");
    sample(xlb, &format!("xlb_backend_weight_percent{{{labels}}}"))
}

/// Slots of every backend, as they change until they are as they are to be.
fn watch_slots(xlb: &Xlb<'_>, until: [u64; 3]) -> Vec<[u64; 3]> {
    let mut seen = Vec::new();
    let is_whole = || {
        let list = xlb.json(&["backend", "list", "web"]).unwrap();
        let slots = |index: usize| list["items"][index]["slots"].as_u64().unwrap();
        let now = [0, 1, 2].map(slots);
        seen.push(now);
        (now == until).then_some(())
    };
    eventually("its share is whole", SOON * 2, is_whole).unwrap();
    seen.dedup();
    seen
}

const fn slow(seconds: &'static [&'static str]) -> Service<'static> {
    Service {
        more: seconds,
        ..Service::WEB
    }
}

#[test]
fn the_share_of_a_backend_that_comes_back_grows() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[slow(&["slow_start: 9s"])]);
    // Who was first takes all at once.
    let before = ["b1", "b2", "b3"].map(|name| slots(&xlb, name));
    assert_eq!(told(&xlb, &["growing"]).len(), 0);

    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    let without = ["b1", "b2", "b3"].map(|name| slots(&xlb, name));
    assert_eq!(without[1], 0);
    fleet.revive(&topology, 2).unwrap();
    wait_for_state(&xlb, "web", "b2", "up");
    assert!(percent(&xlb, "b2") < 100);
    let listed = String::from_utf8(xlb.cli(&["backend", "list"]).unwrap().stdout).unwrap();
    assert!(listed.contains("0%)"), "{listed}");
    let seen = watch_slots(&xlb, before);
    assert!(seen.len() > 2, "{seen:?}");
    // Slots move to it alone: the others only lose, down to what they had.
    assert!(
        seen.is_sorted_by(|one, next| {
            one[0] >= next[0] && one[1] <= next[1] && one[2] >= next[2]
        }),
        "{seen:?}"
    );
    assert_eq!(told(&xlb, &["growing", "grown"]), ["growing", "grown"]);
    assert_eq!(percent(&xlb, "b2"), 100);
}

#[test]
fn nobody_is_spared_alone_and_a_restart_ends_the_growth() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[slow(&["slow_start: 10m"])]);
    for number in [1, 2, 3] {
        fleet.kill(number).unwrap();
    }
    for name in ["b1", "b2", "b3"] {
        wait_for_state(&xlb, "web", name, "down");
    }
    for number in [1, 2, 3] {
        fleet.revive(&topology, number).unwrap();
    }
    wait_until_whole(&xlb);
    assert_eq!(["b1", "b2", "b3"].map(|name| percent(&xlb, name)), [100; 3]);
    assert_eq!(told(&xlb, &["growing"]).len(), 0);

    // Each of them is first once.
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    fleet.revive(&topology, 2).unwrap();
    wait_for_state(&xlb, "web", "b2", "up");
    assert_eq!(percent(&xlb, "b2"), 10);
    assert!(backend(&xlb, "web", "b2")["grown_in_seconds"].as_u64() > Some(0));
    xlb.kill().unwrap();
    xlb.start_again().unwrap();
    wait_until_whole(&xlb);
    assert_eq!(percent(&xlb, "b2"), 100);
}

#[test]
fn a_backend_that_flaps_is_kept_out_unless_it_is_needed() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let damped = Service {
        more: &["damping: { half_life: 5s, suppress: 1500, reuse: 400, max: 20s }"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[damped]);
    let mut flap = |number: usize| {
        let name = format!("b{number}");
        fleet.kill(number).unwrap();
        wait_for_state(&xlb, "web", &name, "down");
        fleet.revive(&topology, number).unwrap();
        wait_for_state(&xlb, "web", &name, "up");
    };
    let damping = |name: &str| backend(&xlb, "web", name)["damping"].clone();
    flap(2);
    assert_eq!(damping("b2")["suppressed"], false);
    assert!(damping("b2")["penalty"].as_u64() > Some(0));
    assert_eq!(told(&xlb, &["suppressed", "reused"]).len(), 0);
    flap(2);
    // Had its penalty decayed between the two, it would have to fall again.
    while damping("b2")["suppressed"] != true {
        flap(2);
    }
    assert_eq!((slots(&xlb, "b2"), percent(&xlb, "b2")), (0, 0));
    let labels = "service=\"web\",backend=\"b2\"";
    assert_eq!(
        sample(&xlb, &format!("xlb_backend_suppressed{{{labels}}}")),
        1
    );
    assert!(sample(&xlb, &format!("xlb_backend_penalty{{{labels}}}")) > 400);
    let listed = String::from_utf8(xlb.cli(&["backend", "list"]).unwrap().stdout).unwrap();
    assert!(listed.contains("up (suppressed)"), "{listed}");

    let reused = || (slots(&xlb, "b2") > 0).then_some(());
    eventually("it is taken back", SOON * 3, reused).unwrap();
    assert_eq!(
        told(&xlb, &["suppressed", "reused"]),
        ["suppressed", "reused"]
    );
    assert_eq!(
        sample(&xlb, &format!("xlb_backend_suppressed{{{labels}}}")),
        0
    );
}

#[test]
fn a_backend_that_is_kept_out_serves_where_nobody_else_does() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let damped = Service {
        more: &["damping: { half_life: 10m, suppress: 1000, reuse: 100, max: 1h }"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[damped]);
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    fleet.revive(&topology, 2).unwrap();
    wait_for_state(&xlb, "web", "b2", "up");
    assert_eq!((slots(&xlb, "b2"), percent(&xlb, "b2")), (0, 0));
    fleet.kill(1).unwrap();
    fleet.kill(3).unwrap();
    for name in ["b1", "b3"] {
        wait_for_state(&xlb, "web", name, "down");
    }
    assert_eq!((slots(&xlb, "b2"), percent(&xlb, "b2")), (4096, 100));
    assert!(connects(&topology.client.namespace, damped.vip(&topology)));
    assert_eq!(backend(&xlb, "web", "b2")["damping"]["suppressed"], true);
}

/// Says to whoever connects to a port of a host what is to be said at the time, until the test ends; once it was asked,
/// or at once.
fn say(host: &Host, port: u16, is_asked: bool, words: &Arc<Mutex<String>>) {
    let listen = || TcpListener::bind(("0.0.0.0", port)).unwrap();
    let listener = host.namespace.enter(listen).unwrap();
    let words = Arc::clone(words);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let words = words.lock().unwrap().clone();
            let answer = |mut stream: TcpStream| {
                if is_asked && stream.read(&mut [0; 4096])? == 0 {
                    return Ok(());
                }
                stream.write_all(words.as_bytes())
            };
            // The other side may have gone.
            drop(stream.and_then(answer));
        }
    });
}

#[test]
fn a_backend_says_how_much_it_is_good_for() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let words = ["100%\n", "100%\n", "up 100%\n"].map(|it| Arc::new(Mutex::new(it.to_owned())));
    for (host, words) in topology.backends.iter().zip(&words) {
        say(host, 9000, false, words);
    }
    let asked = Service {
        probe: "{ interval: 200ms, timeout: 100ms, rise: 1, fall: 2, feedback: { agent: 9000, mode: apply } }",
        ..Service::WEB
    };
    let xlb = start(&topology, &[asked]);
    let whole = slots(&xlb, "b2");
    let becomes = |text: &str, percent: u64| {
        text.clone_into(&mut words[1].lock().unwrap());
        let reached = || (self::percent(&xlb, "b2") == percent).then(|| slots(&xlb, "b2"));
        eventually(text, SOON, reached).unwrap()
    };
    let half = becomes("50%\n", 50);
    assert!(
        (whole / 3..whole * 2 / 3).contains(&half),
        "{half} of {whole}"
    );
    assert_eq!(becomes("0%\n", 0), 0);
    let listed = backend(&xlb, "web", "b2");
    assert_eq!([&listed["state"], &listed["admin"]], ["up", "ready"]);
    let invalid = "xlb_backend_invalid_advice_total{service=\"web\",backend=\"b2\"}";
    "much\n".clone_into(&mut words[1].lock().unwrap());
    let counted = || (sample(&xlb, invalid) > 2).then_some(());
    eventually("it is counted", SOON, counted).unwrap();
    assert_eq!((percent(&xlb, "b2"), slots(&xlb, "b2")), (0, 0));

    // Rather one that has enough than nobody.
    for number in [1, 3] {
        fleet.kill(number).unwrap();
        wait_for_state(&xlb, "web", &format!("b{number}"), "down");
    }
    assert_eq!(slots(&xlb, "b2"), 4096);
    for number in [1, 3] {
        fleet.revive(&topology, number).unwrap();
        wait_for_state(&xlb, "web", &format!("b{number}"), "up");
    }
    assert_eq!(slots(&xlb, "b2"), 0);
    assert_eq!(becomes("100%\n", 100), whole);
    assert_eq!(told(&xlb, &["weighed"]).len(), 3);
}

#[test]
fn advice_that_is_observed_is_shown_and_not_followed() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let answer = "HTTP/1.1 200 OK\r\nX-Load-Weight: 25%\r\nContent-Length: 0\r\n\r\n";
    let words = Arc::new(Mutex::new(answer.to_owned()));
    for host in &topology.backends {
        say(host, 9001, true, &words);
    }
    let observed = Service {
        probe: "{ type: http, port: 9001, interval: 200ms, timeout: 100ms, rise: 1, fall: 2, \
                feedback: { header: X-Load-Weight } }",
        ..Service::WEB
    };
    let xlb = start(&topology, &[observed]);
    for name in ["b1", "b2", "b3"] {
        let labels = format!("service=\"web\",backend=\"{name}\"");
        assert_eq!(
            sample(&xlb, &format!("xlb_backend_advised_percent{{{labels}}}")),
            25
        );
        assert_eq!(percent(&xlb, name), 100);
    }
    let listed = String::from_utf8(xlb.cli(&["backend", "list"]).unwrap().stdout).unwrap();
    assert!(listed.contains("advises 25%"), "{listed}");
    let feedback =
        json!({ "applied": false, "advised_percent": 25, "used_percent": 100, "invalid": 0 });
    assert_eq!(backend(&xlb, "web", "b1")["feedback"], feedback);
}
