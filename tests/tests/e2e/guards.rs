//! Failures that take nobody out: where too many would be, and where the fault is likelier this host's own.

use std::{
    fmt::Write as _,
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::{Fleet, WEB},
    load,
    wait::eventually,
};
use lb_userspace::lab::{Family, Host, Namespace, Topology};
use serde_json::{Value, json};

use crate::{
    page::sample,
    site::{SOON, connects, routed, start, start_with, wait_for_state, wait_until_whole},
    transitions::{NAMES, hold},
};

/// Much longer than failures need to take a backend out.
const LONG: Duration = Duration::from_secs(3);

/// State of each backend, and why it is held.
fn states(xlb: &Xlb<'_>) -> Vec<(String, Option<String>)> {
    let list = xlb.json(&["backend", "list"]).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let words = items.map(|item| {
        let word = |key: &str| item[key].as_str().map(str::to_owned);
        (word("state").unwrap(), word("held"))
    });
    words.collect()
}

/// Waits until the backends' states are these, in the order of the file.
fn become_(xlb: &Xlb<'_>, expected: &[(&str, Option<&str>)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(state, held)| ((*state).to_owned(), held.map(str::to_owned)))
        .collect();
    let reached = || (states(xlb) == expected).then_some(());
    eventually("states", SOON, reached)
        .unwrap_or_else(|_| panic!("{:?}, not {expected:?}\n{}", states(xlb), xlb.log()));
}

fn falls(xlb: &Xlb<'_>) -> u64 {
    let list = xlb.json(&["backend", "list"]).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["transitions"]["down"].as_u64().unwrap())
        .sum()
}

fn times_in_log(xlb: &Xlb<'_>, words: &str) -> usize {
    xlb.log().matches(words).count()
}

/// How many events say this.
fn told(xlb: &Xlb<'_>, what: &str) -> usize {
    let events = xlb.json(&["events"]).unwrap();
    let items = events["items"].as_array().unwrap().iter();
    let whats = items.filter_map(|event| event["what"].as_str());
    whats.filter(|told| told.starts_with(what)).count()
}

#[test]
fn a_link_of_this_host_that_is_down_takes_nobody_out() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let (balancer, back) = (
        &topology.balancer.namespace,
        &topology.balancer.back.interface,
    );
    balancer.run(["ip", "link", "set", back, "down"]).unwrap();
    become_(&xlb, &[("up", Some("own_link")); 3]);
    thread::sleep(LONG);
    become_(&xlb, &[("up", Some("own_link")); 3]);
    assert_eq!(
        sample(&xlb, "xlb_backend_held{service=\"web\",backend=\"b1\"}"),
        1
    );
    let listed = xlb.cli(&["backend", "list", "web"]).unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.contains("up (own_link)"), "{listed}");

    balancer.run(["ip", "link", "set", back, "up"]).unwrap();
    become_(&xlb, &[("up", None); 3]);
    assert_eq!(falls(&xlb), 0);
    assert_eq!(
        times_in_log(&xlb, "likelier this host's own"),
        1,
        "{}",
        xlb.log()
    );
    assert!(
        xlb.log().contains(&format!("down: {back}")),
        "{}",
        xlb.log()
    );
    assert_eq!(times_in_log(&xlb, "probes are answered again"), 1);
    assert_eq!(
        [
            "held (own_link)",
            "own_path_doubted",
            "own_path_trusted",
            "down"
        ]
        .map(|it| told(&xlb, it)),
        [3, 1, 1, 0]
    );
    let client = &topology.client.namespace;
    let served = || connects(client, Service::WEB.vip(&topology)).then_some(());
    eventually("it is served as before", SOON, served).unwrap();
}

/// A service for each of the backends, which have nothing in common.
fn apart(topology: &Topology) -> String {
    let vip = topology.vip.of(Family::V4);
    let mut file = config::interfaces(topology) + "services:\n";
    for (port, host) in (80..).zip(&topology.backends) {
        let backend = SocketAddr::new(host.link.address.of(Family::V4), WEB);
        writeln!(
            file,
            "  - {{ name: s{port}, vip: \"{vip}:{port}/tcp\", probe: {}, backends: [\"{backend}\"] }}",
            config::QUICK
        )
        .unwrap();
    }
    file
}

fn set(host: &Host, state: &str) {
    let link = &host.link.interface;
    host.namespace
        .run(["ip", "link", "set", link, state])
        .unwrap();
}

#[test]
fn silence_of_unrelated_services_takes_nobody_out() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start_with(&topology, &apart(&topology));
    let [one, two, _three] = &topology.backends[..] else {
        panic!("three backends");
    };
    set(one, "down");
    set(two, "down");
    let words = "likelier this host's own";
    let said = || (times_in_log(&xlb, words) == 1).then_some(());
    eventually("it says why", SOON, said).unwrap();
    thread::sleep(LONG);
    let states = states(&xlb);
    // The first of them may have failed before the other one was silent.
    let held_now = states.iter().filter(|(_, why)| why.is_some()).count();
    assert!(held_now >= 1, "{states:?}");
    assert!(
        states.iter().filter(|(state, _)| state == "down").count() <= 1,
        "{states:?}"
    );

    // One that is silent alone is at fault itself.
    set(one, "up");
    become_(&xlb, &[("up", None), ("down", None), ("up", None)]);
    set(two, "up");
    wait_until_whole(&xlb);
    assert_eq!(times_in_log(&xlb, "probes are answered again"), 1);
}

#[test]
fn of_a_service_no_more_are_out_than_may_be() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let some = Service {
        more: &["max_ejected: 40%"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[some]);
    fleet.kill(1).unwrap();
    become_(&xlb, &[("down", None), ("up", None), ("up", None)]);
    fleet.kill(2).unwrap();
    let held = ("up", Some("max_ejected"));
    become_(&xlb, &[("down", None), held, ("up", None)]);
    thread::sleep(LONG);
    become_(&xlb, &[("down", None), held, ("up", None)]);
    // One that is back makes room for the next.
    fleet.revive(&topology, 1).unwrap();
    become_(&xlb, &[("up", None), ("down", None), ("up", None)]);
    fleet.revive(&topology, 2).unwrap();
    wait_until_whole(&xlb);
}

/// The latest events of a backend, the last first.
fn last_event(xlb: &Xlb<'_>, backend: &str) -> Value {
    let events = xlb.json(&["events"]).unwrap();
    let items = events["items"].as_array().unwrap().iter();
    let mut theirs = items.rev().filter(|event| event["backend"] == backend);
    theirs.next().unwrap().clone()
}

#[test]
fn a_death_is_told_with_its_cause_and_what_is_left() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let (_follower, printed) = xlb.follow(&["events", "-f", "-o", "json"]).unwrap();
    fleet.kill(2).unwrap();
    become_(&xlb, &[("up", None), ("down", None), ("up", None)]);
    let death = last_event(&xlb, "b2");
    assert_eq!(
        [
            &death["what"],
            &death["service"],
            &death["up"],
            &death["total"]
        ],
        [&json!("down"), &json!("web"), &json!(2), &json!(3)]
    );
    let cause = death["cause"].as_str().unwrap();
    assert!(cause.starts_with("tcp refused x2"), "{cause}");
    assert!(death["lasted_ms"].as_u64().unwrap() > 0, "{death}");
    let told = || {
        let printed = fs::read_to_string(&printed).ok()?;
        let line = printed.lines().find(|line| line.contains("\"down\""))?;
        Some(serde_json::from_str::<Value>(line).unwrap())
    };
    assert_eq!(
        eventually("who follows is told", SOON, told).unwrap(),
        death
    );

    xlb.json(&["backend", "drain", "web", "b1"]).unwrap();
    let by_hand = last_event(&xlb, "b1");
    assert_eq!(
        [&by_hand["what"], &by_hand["cause"]],
        [&json!("changed"), &json!("drain by root")]
    );
    fleet.revive(&topology, 2).unwrap();
    become_(&xlb, &[("up", None); 3]);
    assert_eq!(last_event(&xlb, "b2")["what"], "up");
    let table = String::from_utf8(xlb.cli(&["events"]).unwrap().stdout).unwrap();
    assert!(table.starts_with("TIME"), "{table}");
    assert!(
        table
            .lines()
            .any(|line| line.contains("down") && line.contains("2/3")),
        "{table}"
    );
}

#[test]
fn a_service_with_too_few_backends_is_not_served() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let quorum = Service {
        more: &["min_up: { count: 2, hysteresis: 1 }"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[quorum]);
    let (client, vip) = (&topology.client.namespace, quorum.vip(&topology));
    assert!(connects(client, vip));
    fleet.kill(1).unwrap();
    become_(&xlb, &[("down", None), ("up", None), ("up", None)]);
    assert!(connects(client, vip));
    fleet.kill(2).unwrap();
    become_(&xlb, &[("down", None), ("down", None), ("up", None)]);
    assert!(!connects(client, vip));
    fleet.revive(&topology, 1).unwrap();
    become_(&xlb, &[("up", None), ("down", None), ("up", None)]);
    assert!(!connects(client, vip), "one more is needed");
    fleet.revive(&topology, 2).unwrap();
    become_(&xlb, &[("up", None); 3]);
    assert!(connects(client, vip));
    assert_eq!(["too_few", "enough"].map(|it| told(&xlb, it)), [1, 1]);
    assert_eq!(times_in_log(&xlb, "service has too few backends"), 1);
}

#[test]
fn a_service_that_fails_open_uses_all_of_its_backends() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let open = Service {
        more: &["when_empty: fail-open"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[open]);
    for number in 1..=3 {
        fleet.kill(number).unwrap();
    }
    become_(&xlb, &[("down", None); 3]);
    let slots = |name: &str| {
        sample(
            &xlb,
            &format!("xlb_backend_slots{{service=\"web\",backend=\"{name}\"}}"),
        )
    };
    assert!(["b1", "b2", "b3"].map(slots).iter().all(|slots| *slots > 0));
    fleet.revive(&topology, 2).unwrap();
    become_(&xlb, &[("down", None), ("up", None), ("down", None)]);
    assert_eq!(["b1", "b3"].map(slots), [0, 0]);
    assert!(connects(&topology.client.namespace, open.vip(&topology)));
}

/// How a TCP connection fails.
fn refusal(from: &Namespace, to: SocketAddr) -> Option<ErrorKind> {
    let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(500));
    let error = from.enter(connect).unwrap().err()?;
    Some(error.kind())
}

/// How a datagram is answered, if that is by an error.
fn unreachable(from: &Namespace, to: SocketAddr) -> Option<ErrorKind> {
    let ask = || load::ask_udp(&load::udp(to)?, b"?");
    let error = from.enter(ask).unwrap().err()?;
    Some(error.kind())
}

fn is_told_that_nobody_is_there(family: Family) {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let web = Service {
        family,
        more: &["min_up: 3", "when_empty: reset"],
        ..Service::WEB
    };
    let names = Service {
        family,
        more: &["when_empty: reset"],
        ..Service::NAMES
    };
    let xlb = start(&topology, &[web, names]);
    let client = &topology.client.namespace;
    let (vip, asked) = (web.vip(&topology), names.vip(&topology));
    let refused = "xlb_answered_packets_total{reason=\"refused\"}";
    let (held, before) = hold(client, vip);
    assert_eq!(
        (refusal(client, vip), unreachable(client, asked)),
        (None, None)
    );

    fleet.kill(1).unwrap();
    wait_for_state(&xlb, "web", "b1", "down");
    assert_eq!(refusal(client, vip), Some(ErrorKind::ConnectionRefused));
    assert_eq!(sample(&xlb, refused), 1);
    for name in NAMES {
        let words = ["backend", "maint", "names", name, "--force"];
        xlb.json(&words).unwrap();
    }
    assert_eq!(
        unreachable(client, asked),
        Some(ErrorKind::ConnectionRefused)
    );
    assert_eq!(sample(&xlb, refused), 2);
    assert_eq!(
        sample(&xlb, "xlb_dropped_packets_total{reason=\"no_backend\"}"),
        0
    );

    fleet.revive(&topology, 1).unwrap();
    wait_for_state(&xlb, "web", "b1", "up");
    assert!(connects(client, vip));
    let held = held.stop().unwrap();
    let left = NAMES.map(|name| held.open_to(name));
    assert_eq!(left[1..], before[1..], "those of the living went on");
}

#[test]
fn clients_of_an_empty_service_may_be_told() {
    is_told_that_nobody_is_there(Family::V4);
}

#[test]
fn clients_of_an_empty_service_may_be_told_over_ipv6() {
    is_told_that_nobody_is_there(Family::V6);
}
