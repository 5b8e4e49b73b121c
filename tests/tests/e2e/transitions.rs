//! Backends come, go and change while connections are open: those stay where they are.
#![expect(clippy::disallowed_types, reason = "real connections take real time")]

use std::{
    fs,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    churn::{self, Event, Plan, Report},
    config::{self, Service},
    daemon::Xlb,
    damage,
    fleet::Fleet,
    load::{Datagrams, Fresh, Held, Load},
    wait::eventually,
};
use lb_userspace::{
    config::model::Mode,
    lab::{Namespace, Topology},
};
use nix::sys::signal::Signal;

use crate::{
    backends::{Backends, network},
    page::sample,
    site::{SOON, backend, nothing_was_dropped, routed, start, wait_until_whole},
};

/// Flows are over soon.
const SHORT: Service<'_> = Service {
    more: &["idle: 4s"],
    ..Service::WEB
};
const PAUSE: Duration = Duration::from_millis(2);
pub(crate) const NAMES: [&str; 3] = ["b1", "b2", "b3"];

/// Holds connections open to all backends; how many to each.
pub(crate) fn hold(client: &Namespace, vip: SocketAddr) -> (Load<Held>, [usize; 3]) {
    let held = Held::open(client, vip, 60).unwrap();
    let open = NAMES.map(|name| held.open_to(name));
    assert!(open.iter().all(|open| *open > 0), "{open:?}");
    (Load::start(client, held, PAUSE).unwrap(), open)
}

/// Asserts that nothing broke; how many are open to each backend.
pub(crate) fn unbroken(held: &Held) -> [usize; 3] {
    assert!(held.broken.is_empty(), "{:?}", held.broken);
    NAMES.map(|name| held.open_to(name))
}

pub(crate) fn moving_rows(xlb: &Xlb<'_>) -> u64 {
    sample(xlb, "xlb_moving_rows{service=\"web\"}")
}

pub(crate) fn change(xlb: &Xlb<'_>, words: &[&str]) {
    xlb.json(&[&["backend"], words].concat()).unwrap();
}

#[test]
fn a_drain_breaks_nothing_and_ends_when_its_flows_do() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[SHORT]);
    let (client, vip) = (&topology.client.namespace, SHORT.vip(&topology));
    let (held, before) = hold(client, vip);

    change(&xlb, &["drain", "web", "b2"]);
    let drained = Instant::now();
    let fresh = Load::start(client, Fresh::new(vip), PAUSE).unwrap();
    thread::sleep(Duration::from_secs(8));
    let fresh = fresh.stop().unwrap();
    assert!(fresh.failed.is_empty(), "{:?}", fresh.failed);
    assert!(!fresh.served_by("b2", drained), "b2 takes no new ones");
    assert!(moving_rows(&xlb) > 0, "b2 still has flows");
    let tracked = "xlb_track_requests_total{result=\"tracked\"}";
    assert!(sample(&xlb, tracked) > 0);

    assert_eq!(unbroken(&held.stop().unwrap()), before);
    let rest = || (moving_rows(&xlb) == 0).then_some(());
    eventually("the rows come to rest", SOON, rest).unwrap();
    let forgotten = || (sample(&xlb, "xlb_tracked_flows") == 0).then_some(());
    eventually("nothing is remembered any more", SOON, forgotten).unwrap();
    nothing_was_dropped(&xlb);
}

/// A daemon that gets no CPU, or waits for the kernel, tells no time: flows were not silent because of that.
#[test]
fn a_daemon_that_hangs_for_longer_than_flows_may_be_silent_breaks_nothing() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[SHORT]);
    let (client, vip) = (&topology.client.namespace, SHORT.vip(&topology));
    let (held, before) = hold(client, vip);
    change(&xlb, &["drain", "web", "b2"]);
    let late = Held::open(client, vip, 60).unwrap();
    let late = Load::start(client, late, PAUSE).unwrap();
    xlb.process().signal(Signal::SIGSTOP).unwrap();
    thread::sleep(Duration::from_secs(8));
    xlb.process().signal(Signal::SIGCONT).unwrap();
    thread::sleep(Duration::from_secs(3));
    assert!(moving_rows(&xlb) > 0, "b2 still has flows");
    assert_eq!(unbroken(&held.stop().unwrap()), before);
    unbroken(&late.stop().unwrap());
    nothing_was_dropped(&xlb);
}

#[test]
fn many_changes_in_a_few_seconds_break_nothing() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[Service::WEB]);
    let (client, vip) = (&topology.client.namespace, Service::WEB.vip(&topology));
    let early = Held::open(client, vip, 40).unwrap();
    let early = Load::start(client, early, PAUSE).unwrap();
    let fresh = Load::start(client, Fresh::new(vip), PAUSE).unwrap();
    let address = backend(&xlb, "web", "b3")["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut late = Vec::new();
    for words in [
        &["drain", "web", "b2"][..],
        &["weight", "web", "b1", "5"],
        &["ready", "web", "b2"],
        &["remove", "web", "b3"],
        &["weight", "web", "b2", "9"],
        &["add", "web", &address, "--name", "b3"],
        &["drain", "web", "b1"],
        &["weight", "web", "b2", "1"],
        &["ready", "web", "b1"],
        &["weight", "web", "b1", "1"],
    ] {
        change(&xlb, words);
        wait_until_whole_but_drained(&xlb);
        let held = Held::open(client, vip, 10).unwrap();
        late.push(Load::start(client, held, PAUSE).unwrap());
    }
    thread::sleep(Duration::from_secs(1));
    let fresh = fresh.stop().unwrap();
    assert!(fresh.failed.is_empty(), "{:?}", fresh.failed);
    for held in late.into_iter().chain([early]) {
        unbroken(&held.stop().unwrap());
    }
    nothing_was_dropped(&xlb);
}

/// What was added again is probed first.
fn wait_until_whole_but_drained(xlb: &Xlb<'_>) {
    let none_unknown = || {
        let list = xlb.json(&["backend", "list", "web"]).unwrap();
        let mut items = list["items"].as_array().unwrap().iter();
        items.all(|item| item["state"] == "up").then_some(())
    };
    eventually("every backend is probed", SOON, none_unknown).unwrap();
}

/// Flows go on in the mode in which they began.
#[test]
fn a_service_may_change_its_mode() {
    let topology = Topology::two_armed(network(Mode::Ipip)).unwrap();
    let _backends = Backends::for_all_modes(&topology);
    let in_mode = |mode| Service {
        mode,
        port: Service::WEB.backend_port,
        ..Service::WEB
    };
    let xlb = start(&topology, &[in_mode(Mode::Ipip)]);
    let vip = in_mode(Mode::Ipip).vip(&topology);
    let client = &topology.client.namespace;
    let mut loads = vec![hold(client, vip)];
    for mode in [Mode::Gue, Mode::FullNat, Mode::Ipip] {
        fs::write(xlb.config_file(), config::yaml(&topology, &[in_mode(mode)])).unwrap();
        xlb.json(&["apply"]).unwrap();
        wait_until_whole(&xlb);
        thread::sleep(Duration::from_secs(1));
        loads.push(hold(client, vip));
    }
    thread::sleep(Duration::from_secs(1));
    for (held, before) in loads {
        assert_eq!(unbroken(&held.stop().unwrap()), before);
    }
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

#[test]
fn what_a_file_does_not_name_any_more_keeps_its_connections() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let xlb = start(&topology, &[SHORT]);
    let (client, vip) = (&topology.client.namespace, SHORT.vip(&topology));
    let (held, before) = hold(client, vip);
    let two = Service {
        weights: &[1, 1],
        ..SHORT
    };
    fs::write(xlb.config_file(), config::yaml(&topology, &[two])).unwrap();
    xlb.json(&["apply"]).unwrap();
    thread::sleep(Duration::from_secs(8));
    fs::write(xlb.config_file(), config::yaml(&topology, &[SHORT])).unwrap();
    xlb.json(&["apply"]).unwrap();
    wait_until_whole(&xlb);
    assert_eq!(unbroken(&held.stop().unwrap()), before);
    nothing_was_dropped(&xlb);
}

/// Half of a drain is the daemon's before, the rest another one's.
#[test]
fn a_drain_goes_on_while_the_daemon_is_killed() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[SHORT]);
    let (client, vip) = (&topology.client.namespace, SHORT.vip(&topology));
    let (held, before) = hold(client, vip);
    change(&xlb, &["drain", "web", "b2"]);
    let late = Held::open(client, vip, 30).unwrap();
    assert_eq!(late.open_to("b2"), 0);
    let late = Load::start(client, late, PAUSE).unwrap();

    xlb.kill().unwrap();
    thread::sleep(Duration::from_secs(6));
    xlb.start_again().unwrap();
    thread::sleep(Duration::from_secs(1));
    assert!(moving_rows(&xlb) > 0);
    change(&xlb, &["ready", "web", "b2"]);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(unbroken(&held.stop().unwrap()), before);
    unbroken(&late.stop().unwrap());
    nothing_was_dropped(&xlb);
}

#[test]
fn datagrams_stay_with_their_backend() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let names = Service {
        more: &["idle: 2s"],
        ..Service::NAMES
    };
    let xlb = start(&topology, &[names]);
    let (client, vip) = (&topology.client.namespace, names.vip(&topology));
    let early = Datagrams::new(client, vip, 40).unwrap();
    let early = Load::start(client, early, PAUSE).unwrap();
    thread::sleep(Duration::from_millis(500));
    change(&xlb, &["drain", "names", "b1"]);
    thread::sleep(Duration::from_secs(4));
    // All flows of the old owner are known by now.
    let late = Datagrams::new(client, vip, 20).unwrap();
    let late = Load::start(client, late, PAUSE).unwrap();
    thread::sleep(Duration::from_secs(1));
    change(&xlb, &["ready", "names", "b1"]);
    thread::sleep(Duration::from_secs(3));
    let (early, late) = (early.stop().unwrap(), late.stop().unwrap());
    assert_eq!(early.servers(), NAMES);
    assert_eq!(late.servers(), ["b2", "b3"], "b1 takes no new ones");
    for datagrams in [&early, &late] {
        assert!(datagrams.failed.is_empty(), "{:?}", datagrams.failed);
    }
    nothing_was_dropped(&xlb);
}

/// `cargo xtask churn` is this with thousands of connections.
#[test]
fn whatever_happens_only_the_dead_lose_their_connections() {
    let report = churn(7);
    println!("{report}");
    let mut events = report.events.iter().map(|(_, event)| *event);
    assert!(events.clone().any(|event| matches!(event, Event::Kill(_))));
    assert!(events.any(|event| event == Event::FailOver));
}

#[test]
fn upgrades_and_growth_between_all_that_happens_break_nothing() {
    let report = churn(12);
    println!("{report}");
    let happened = |wanted| report.events.iter().any(|(_, event)| *event == wanted);
    let wanted = [Event::Upgrade, Event::Grow, Event::FailOver];
    assert!(wanted.into_iter().all(happened));
}

/// What came of a dozen events.
fn churn(seed: u64) -> Report {
    let report = churn::play(Plan {
        seed,
        connections: 200,
        more: 10,
        datagrams: 30,
        events: 12,
        pause: Duration::from_millis(600),
        flood: None,
    });
    let report = report.unwrap();
    assert!(report.broken.is_empty(), "{:#?}", report.broken);
    assert!(report.datagrams.1.is_empty(), "{:#?}", report.datagrams.1);
    report
}

/// A deadline is an end.
#[test]
fn a_drain_has_a_deadline() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let late = Service {
        more: &["drain_deadline: 3s"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[late]);
    let (client, vip) = (&topology.client.namespace, late.vip(&topology));
    let (held, before) = hold(client, vip);
    change(&xlb, &["drain", "web", "b2"]);
    let rest = || (moving_rows(&xlb) == 0).then_some(());
    eventually("the rows come to rest", SOON, rest).unwrap();
    thread::sleep(Duration::from_secs(1));
    let held = held.stop().unwrap();
    let left = NAMES.map(|name| held.open_to(name));
    assert_eq!(left, [before[0], 0, before[2]]);
    assert!(
        held.broken
            .iter()
            .all(|it| it.server.as_deref() == Some("b2"))
    );
}
