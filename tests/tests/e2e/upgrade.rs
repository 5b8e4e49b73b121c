//! Another program, larger maps, maps of another layout: under the eyes of clients that notice.
#![expect(
    clippy::print_stdout,
    reason = "how much there was is told, never asserted"
)]

use std::{
    fs::{self, File},
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use lb_common::maps::LAYOUT_VERSION;
use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::Fleet,
    layout_4,
    load::{Client, Datagrams, Fresh, Held, Load, Stream},
    pinned,
    random::Random,
};
use lb_userspace::{
    config::model::Mode,
    lab::{Namespace, Topology},
};
use serde_json::Value;
use zerocopy::IntoBytes as _;

use crate::site::{checksum, routed, start, wait_until_whole};

const PAUSE: Duration = Duration::from_millis(2);

/// Pages by full NAT: every flow is remembered.
const FULL: Service<'_> = Service {
    name: "full",
    mode: Mode::FullNat,
    port: 81,
    more: &["full_nat: { ports: 2000-2999 }"],
    ..Service::WEB
};

/// Clients of every kind.
struct Clients {
    held: Load<Held>,
    full: Load<Held>,
    fresh: Load<Fresh>,
    fresh_full: Load<Fresh>,
    datagrams: Load<Datagrams>,
    stream: Load<Stream>,
}

impl Clients {
    fn start(topology: &Topology) -> Self {
        let client = &topology.client.namespace;
        let [web, names, full] = [Service::WEB, Service::NAMES, FULL].map(|it| it.vip(topology));
        Self {
            held: go(client, Held::open(client, web, 40).unwrap()),
            full: go(client, Held::open(client, full, 40).unwrap()),
            fresh: go(client, Fresh::new(web)),
            // A place of the pool is free again a minute after its flow.
            fresh_full: Load::start(client, Fresh::new(full), 10 * PAUSE).unwrap(),
            datagrams: go(client, Datagrams::new(client, names, 20).unwrap()),
            stream: go(client, Stream::new(client, names).unwrap()),
        }
    }

    /// Asserts that nothing broke and nothing was lost; datagrams that were sent.
    fn stop(self) -> u64 {
        for held in [self.held, self.full] {
            let held = held.stop().unwrap();
            assert!(held.broken.is_empty(), "{:?}", held.broken);
            assert_eq!(held.open.len(), 40);
        }
        for fresh in [self.fresh, self.fresh_full] {
            let fresh = fresh.stop().unwrap();
            println!("{} connections opened", fresh.served.len());
            assert!(fresh.failed.is_empty(), "{:?}", fresh.failed);
        }
        let datagrams = self.datagrams.stop().unwrap();
        assert!(datagrams.failed.is_empty(), "{:?}", datagrams.failed);
        let (sent, lost) = self.stream.stop().unwrap().count();
        println!("{} datagrams asked, {sent} streamed", datagrams.sent);
        assert!(sent > 100 && lost.is_empty(), "{lost:?} of {sent}");
        datagrams.sent + sent as u64
    }
}

fn go<C: Client>(client: &Namespace, load: C) -> Load<C> {
    Load::start(client, load, PAUSE).unwrap()
}

/// The configuration, grown so many times: each time a table that is larger than those before, and more
/// flows to remember.
fn yaml(topology: &Topology, grown: u16) -> String {
    let names: Vec<_> = (0..grown).map(|number| format!("grown{number}")).collect();
    let slots = |number| format!("slots: {}", 16_384 << number);
    let slots: Vec<_> = (0..grown).map(slots).collect();
    let pool = |number| format!("full_nat: {{ ports: {0}000-{0}999 }}", number + 3);
    let pools: Vec<_> = (0..grown).map(pool).collect();
    let lines = slots.iter().zip(&pools);
    let lines: Vec<_> = lines.map(|(slots, pool)| [slots.as_str(), pool]).collect();
    let grown = (1u16..).zip(names.iter().zip(&lines));
    let grown = grown.map(|(number, (name, more))| Service {
        name,
        port: 1000 + number,
        backend_port: 9000 + number,
        probe: "none",
        more,
        ..FULL
    });
    let services: Vec<_> = [Service::WEB, Service::NAMES, FULL]
        .into_iter()
        .chain(grown)
        .collect();
    config::yaml(topology, &services)
}

fn apply(xlb: &Xlb<'_>, file: &str) {
    fs::write(xlb.config_file(), file).unwrap();
    xlb.json(&["apply"]).unwrap();
}

/// Lengths of the maps that grow.
fn lengths(xlb: &Xlb<'_>) -> Vec<u64> {
    let status = xlb.json(&["status"]).unwrap();
    let maps = status["maps"].as_array().unwrap();
    let length = |name: &&str| {
        let found = maps.iter().find(|map| map["name"] == **name);
        found.unwrap()["entries"].as_u64().unwrap()
    };
    ["SLOTS", "TIMES", "FLOWS", "BACKENDS", "STATS"]
        .iter()
        .map(length)
        .collect()
}

fn program(xlb: &Xlb<'_>) -> Value {
    let status = xlb.json(&["status"]).unwrap();
    status["interfaces"][0]["program_id"].clone()
}

/// Packets towards all backends of a service.
fn packets(xlb: &Xlb<'_>, service: &str) -> u64 {
    let list = xlb.json(&["backend", "list", service]).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["packets"].as_u64().unwrap()).sum()
}

#[test]
fn nothing_is_lost_by_reload_restart_upgrade_or_growth() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[Service::WEB, Service::NAMES, FULL]);
    let clients = Clients::start(&topology);
    let pause = || thread::sleep(Duration::from_millis(300));
    for round in 1..=3 {
        pause();
        let before = program(&xlb);
        apply(
            &xlb,
            &format!(
                "icmp: {{ rate: {} }}\n{}",
                1000 + round,
                yaml(&topology, round - 1)
            ),
        );
        assert_ne!(program(&xlb), before, "a reload with another program");
        pause();
        let lengths_before = lengths(&xlb);
        apply(&xlb, &yaml(&topology, round));
        let grown = lengths(&xlb);
        println!("{lengths_before:?} -> {grown:?}");
        assert!(grown[0] > lengths_before[0]);
        assert!(grown[2] > lengths_before[2] || round == 3);
        pause();
        let before = program(&xlb);
        xlb.kill().unwrap();
        xlb.start_again().unwrap();
        assert_eq!(program(&xlb), before, "a restart");
        xlb.terminate().unwrap();
        pinned::pretend_another_program(&xlb.pins()).unwrap();
        xlb.start_again().unwrap();
        assert_ne!(program(&xlb), before, "an upgrade");
        assert_eq!(lengths(&xlb), grown);
    }
    pause();
    let sent = clients.stop();
    assert_eq!(packets(&xlb, "names"), sent);
}

/// Wherever in a growth the daemon is killed.
#[test]
fn nothing_is_lost_when_the_daemon_is_killed_while_maps_grow() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let mut xlb = start(&topology, &[Service::WEB, Service::NAMES, FULL]);
    let clients = Clients::start(&topology);
    let mut random = Random::new(11);
    for round in 0..6 {
        fs::write(xlb.config_file(), yaml(&topology, round + 1)).unwrap();
        // SIGHUP: nobody waits for the answer.
        xlb.process()
            .signal(nix::sys::signal::Signal::SIGHUP)
            .unwrap();
        let after = 100 * u64::from(round) + random.below(100) as u64;
        thread::sleep(Duration::from_millis(after));
        xlb.kill().unwrap();
        let folders = fs::read_dir(xlb.pins()).unwrap();
        let folders: Vec<_> = folders.map(|entry| entry.unwrap().file_name()).collect();
        println!("killed after {after} ms: {folders:?}");
        xlb.start_again().unwrap();
        wait_until_whole(&xlb);
        assert!(!xlb.pins().join("maps_next").exists());
        assert!(!xlb.pins().join("maps_former").exists());
    }
    let sent = clients.stop();
    assert_eq!(packets(&xlb, "names"), sent);
}

/// Puts to work what a daemon of layout 4 left an hour ago.
fn leave_layout_4(topology: &Topology, pins: &Path, state: &Path) -> anyhow::Result<()> {
    const HOUR: Duration = Duration::from_hours(1);
    pinned::restore(&layout_4::maps()?, pins)?;
    let object = layout_4::object()?;
    let balancer = &topology.balancer.namespace;
    pinned::run_program(object.as_bytes(), pins, balancer, &topology.interfaces())?;
    assert_eq!(pinned::meta(pins)?.layout_version, 4);
    fs::create_dir_all(state.parent().unwrap())?;
    fs::copy(layout_4::folder().join("state.json"), state)?;
    let state = File::options().write(true).open(state)?;
    Ok(state.set_modified(SystemTime::now() - HOUR)?)
}

/// What a daemon of layout 4 said, or who had which flow.
fn said(what: &str) -> String {
    fs::read_to_string(layout_4::folder().join(what)).unwrap()
}

/// Maps, program and state file of an earlier version, as its daemon left them.
#[test]
fn what_a_daemon_of_layout_4_left_goes_on() {
    let topology = layout_4::topology().unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let [web, names] = layout_4::SERVICES.map(|it| it.vip(&topology));
    let (balancer, client) = (&topology.balancer.namespace, &topology.client.namespace);
    let mut clients = None;
    let mut clock = 0;
    let file = layout_4::yaml(&topology);
    let xlb = Xlb::start_after(balancer, &file, |pins, state| {
        leave_layout_4(&topology, pins, state)?;
        clock = pinned::clock(pins)?;
        let backends = layout_4::backends(&topology)?;
        assert_eq!(backends, said("backends"), "the program of layout 4");
        clients = Some((
            go(client, Held::open(client, web, 60)?),
            go(client, Datagrams::new(client, names, 30)?),
            go(client, Stream::new(client, names)?),
        ));
        thread::sleep(Duration::from_millis(500));
        Ok(())
    });
    let xlb = xlb.unwrap();
    wait_until_whole(&xlb);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(xlb.json(&["status"]).unwrap()["adopted"], true);
    let left = pinned::meta(&xlb.pins()).unwrap();
    assert_eq!(left.layout_version, LAYOUT_VERSION);
    let passed = pinned::clock(&xlb.pins()).unwrap() - clock;
    assert!(
        (1..3600).contains(&passed),
        "the hour does not count: {passed} s"
    );
    assert_eq!(checksum(&xlb, "web"), said("checksum"));
    let backends = layout_4::backends(&topology).unwrap();
    assert_eq!(backends, said("backends"), "today's program");

    let (held, datagrams, stream) = clients.unwrap();
    let (held, datagrams) = (held.stop().unwrap(), datagrams.stop().unwrap());
    assert!(held.broken.is_empty(), "{:?}", held.broken);
    assert!(datagrams.failed.is_empty(), "{:?}", datagrams.failed);
    let (sent, lost) = stream.stop().unwrap().count();
    assert!(sent > 100 && lost.is_empty(), "{lost:?} of {sent}");
    let asked = 2 * layout_4::PORTS.len() as u64;
    let all = datagrams.sent + sent as u64 + asked;
    println!("{all} datagrams");
    assert_eq!(packets(&xlb, "names"), all, "counters go on");
}
