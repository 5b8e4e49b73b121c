//! Two balancers behind a router that divides flows between them. One leaves, in every way that there is, and
//! comes back: no connection breaks, as each knows where the other's flows go.
#![expect(clippy::disallowed_types, reason = "real connections take real time")]

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    bird::{self, Bird},
    config::{self, QUICK, Service},
    daemon::Xlb,
    direct::{self, TunnelEnd},
    fleet::{Fleet, WEB},
    load::{Held, Load},
    wait::eventually,
};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Host, Namespace, Options, Topology, WayBack},
};
use nix::sys::signal::Signal;

use crate::page::sample;
use crate::site::{SOON, checksum, nothing_was_dropped, service, wait_until_whole};

/// Connections of each family.
const CONNECTIONS: usize = 200;
/// From one turn of a client to the next.
const PAUSE: Duration = Duration::from_millis(2);
/// In this time every connection is asked several times.
const WHILE: Duration = Duration::from_secs(3);

const fn web(family: Family) -> Service<'static> {
    Service {
        name: match family {
            Family::V4 => "web",
            Family::V6 => "web6",
        },
        family,
        mode: Mode::L2Dsr,
        port: WEB,
        probe: QUICK,
        ..Service::WEB
    }
}

/// The same in GUE, whose header names a second backend.
const fn second_chance(family: Family) -> Service<'static> {
    Service {
        mode: Mode::Gue,
        more: &["tunnel: { second_chance: true }"],
        ..web(family)
    }
}

/// The network, with everything in it but balancers.
struct Site {
    topology: Topology,
    services: [Service<'static>; 2],
    _fleet: Fleet,
}

impl Site {
    fn new() -> Self {
        Self::of(Family::ALL.map(web))
    }

    fn of(services: [Service<'static>; 2]) -> Self {
        let topology = Topology::pair(Options {
            way_back: WayBack::Router,
            ..Options::default()
        });
        let topology = topology.unwrap();
        let vips = Family::ALL.map(|family| topology.vip.of(family));
        for backend in &topology.backends {
            direct::own(&backend.namespace, &vips).unwrap();
        }
        let fleet = Fleet::start_at(&topology, &vips).unwrap();
        let site = Self {
            topology,
            services,
            _fleet: fleet,
        };
        // Else packets of one connection could take both ways, or all connections one.
        for policy in ["net/ipv4", "net/ipv6"] {
            let policy = format!("{policy}/fib_multipath_hash_policy");
            site.router().sysctl(&policy, "1").unwrap();
        }
        site
    }

    const fn router(&self) -> &Namespace {
        &self.topology.router.as_ref().unwrap().namespace
    }

    /// Starts both balancers, each with its seed.
    fn balancers(&self, seeds: [&str; 2]) -> [Xlb<'_>; 2] {
        let second = self.topology.second.as_ref().unwrap();
        let hosts = [
            &self.topology.balancer.namespace,
            &second.balancer.namespace,
        ];
        let yaml = config::yaml(&self.topology, &self.services);
        let start = |(host, seed): (_, &str)| {
            let file = format!("hash_seed: {seed}\nannounce: {{}}\n{yaml}");
            Xlb::start(host, &file).unwrap()
        };
        let [one, other] = hosts;
        let both = [(one, seeds[0]), (other, seeds[1])].map(start);
        both.iter().for_each(wait_until_whole);
        both
    }

    /// The backends' ends of tunnels, whose kernels forward what is another backend's.
    fn ends(&self) -> Vec<TunnelEnd<'_>> {
        let vips = Family::ALL.map(|family| self.topology.vip.of(family));
        let sources = ["10.0.0.0/8", "2001:db8::/32"].map(str::to_owned);
        let end = |backend| Self::end(backend, &vips, &sources);
        self.topology.backends.iter().map(end).collect()
    }

    fn end<'h>(backend: &'h Host, vips: &[IpAddr], sources: &[String]) -> TunnelEnd<'h> {
        // ip6_forward() of the kernel asks for that of `all`.
        for forwards in ["ipv4/conf/eth0", "ipv6/conf/all"] {
            let forwards = format!("net/{forwards}/forwarding");
            backend.namespace.sysctl(&forwards, "1").unwrap();
        }
        let end = TunnelEnd::new(&backend.namespace).unwrap();
        end.attach(vips, sources).unwrap();
        end
    }

    fn bird_of_the_router(&self) -> Bird<'_> {
        let Topology {
            router,
            balancer,
            second,
            ..
        } = &self.topology;
        let (router, second) = (router.as_ref().unwrap(), second.as_ref().unwrap());
        let first = (&router.back, &balancer.front);
        let second = (&second.uplink, &second.balancer.front);
        let bird = Bird::start(&router.namespace, &bird::router(&[first, second]));
        bird.unwrap()
    }

    fn birds_of_balancers(&self) -> [Bird<'_>; 2] {
        let router = &self.topology.router.as_ref().unwrap().back;
        let first = &self.topology.balancer;
        let config = bird::balancer(&first.front, router);
        [
            Bird::start(&first.namespace, &config).unwrap(),
            self.bird_of_the_second(),
        ]
    }

    fn bird_of_the_second(&self) -> Bird<'_> {
        let second = self.topology.second.as_ref().unwrap();
        let config = bird::balancer(&second.balancer.front, &second.uplink);
        Bird::start(&second.balancer.namespace, &config).unwrap()
    }

    /// Ways that the router has to the VIP of a family.
    fn ways(&self, family: Family) -> usize {
        let vip = self.topology.vip.of(family).to_string();
        let version = if family == Family::V4 { "-4" } else { "-6" };
        let words = ["ip", version, "-o", "route", "show", &vip];
        self.router().run(words).unwrap().matches(" via ").count()
    }

    /// Waits until the router has so many ways to both VIPs; how long that took.
    fn wait_for_ways(&self, wanted: usize) -> Duration {
        let began = Instant::now();
        let reached = || {
            let all = Family::ALL
                .iter()
                .all(|family| self.ways(*family) == wanted);
            all.then_some(began.elapsed())
        };
        let waited = eventually(&format!("{wanted} ways"), 6 * SOON, reached);
        waited.unwrap()
    }
}

/// Connections of both families that are asked all the time.
struct Connections([Load<Held>; 2]);

impl Connections {
    fn open(topology: &Topology) -> Self {
        let client = &topology.client.namespace;
        let hold = |family| {
            let vip: SocketAddr = web(family).vip(topology);
            let held = Held::open(client, vip, CONNECTIONS).unwrap();
            Load::start(client, held, PAUSE).unwrap()
        };
        Self(Family::ALL.map(hold))
    }

    /// All of them, as they are in the end.
    fn stop(self) -> [Held; 2] {
        self.0.map(|load| load.stop().unwrap())
    }
}

/// Packets that a balancer has sent to backends.
fn packets(xlb: &Xlb<'_>) -> u64 {
    let services = Family::ALL.map(|family| service(xlb, web(family).name));
    services
        .iter()
        .map(|service| service["packets"].as_u64().unwrap())
        .sum()
}

/// Asserts that a balancer gets packets; or none.
fn works(xlb: &Xlb<'_>, wanted: bool) {
    let before = packets(xlb);
    thread::sleep(WHILE);
    let works = packets(xlb) > before;
    assert_eq!(works, wanted, "{}", xlb.log());
}

#[test]
fn a_balancer_leaves_and_returns_and_no_connection_breaks() {
    let site = Site::new();
    let topology = &site.topology;
    let second = topology.second.as_ref().unwrap();
    let [mut one, mut other] = site.balancers(["fleet-of-two"; 2]);
    let _router = site.bird_of_the_router();
    let [_first_bird, mut bird] = site.birds_of_balancers();
    for family in Family::ALL {
        let name = web(family).name;
        assert_eq!(checksum(&one, name), checksum(&other, name));
    }
    site.wait_for_ways(2);
    let connections = Connections::open(topology);
    works(&one, true);
    works(&other, true);

    // Power off: processes and links at once.
    bird.process().kill().unwrap();
    other.kill().unwrap();
    second.unplug().unwrap();
    println!("death to withdrawal: {:?}", site.wait_for_ways(1));
    thread::sleep(WHILE);
    // Power on: nothing is left of what it knew.
    assert!(other.cli(&["detach"]).unwrap().status.success());
    second.plug().unwrap();
    let mut bird = site.bird_of_the_second();
    other.start_again().unwrap();
    assert_eq!(other.json(&["status"]).unwrap()["adopted"], false);
    println!("start to announcement: {:?}", site.wait_for_ways(2));
    works(&other, true);

    // Routing software that hangs: only BFD finds out, and the balancer goes on forwarding.
    bird.process().signal(Signal::SIGSTOP).unwrap();
    println!("silence to withdrawal: {:?}", site.wait_for_ways(1));
    thread::sleep(WHILE);
    bird.process().signal(Signal::SIGCONT).unwrap();
    println!("voice to announcement: {:?}", site.wait_for_ways(2));
    works(&other, true);

    // By hand, one after the other.
    for xlb in [&one, &other] {
        xlb.json(&["drain", "self"]).unwrap();
        println!("drain to withdrawal: {:?}", site.wait_for_ways(1));
        works(xlb, false);
        xlb.json(&["ready", "self"]).unwrap();
        println!("ready to announcement: {:?}", site.wait_for_ways(2));
        works(xlb, true);
    }

    // Another daemon is not another balancer.
    one.kill().unwrap();
    thread::sleep(WHILE / 2);
    assert_eq!(Family::ALL.map(|family| site.ways(family)), [2, 2]);
    one.start_again().unwrap();
    works(&one, true);
    for (family, held) in Family::ALL.iter().zip(connections.stop()) {
        let (open, broken) = (held.open.len(), &held.broken);
        println!("{family}: {open} connections open, {} broken", broken.len());
        assert!(broken.is_empty(), "{broken:?}");
    }
}

/// What the other test shows is not shown by chance.
#[test]
fn balancers_of_different_seeds_break_connections() {
    let site = Site::new();
    let [one, _other] = site.balancers(["one", "other"]);
    let _router = site.bird_of_the_router();
    let _birds = site.birds_of_balancers();
    site.wait_for_ways(2);
    let connections = Connections::open(&site.topology);
    works(&one, true);
    one.json(&["drain", "self"]).unwrap();
    site.wait_for_ways(1);
    works(&one, false);
    for (family, held) in Family::ALL.iter().zip(connections.stop()) {
        let (open, broken) = (held.open.len(), held.broken.len());
        println!("{family}: {open} connections open, {broken} broken");
        assert!(open > 0 && broken > 0);
    }
}

/// One balancer has all flows, and never a packet went through the other one: that knows all the same that
/// slots which change hands have older flows.
#[test]
fn a_standby_keeps_the_flows_of_a_drained_backend() {
    let site = Site::new();
    let [one, standby] = site.balancers(["fleet-of-two"; 2]);
    standby.json(&["drain", "self"]).unwrap();
    let _router = site.bird_of_the_router();
    let _birds = site.birds_of_balancers();
    site.wait_for_ways(1);
    let connections = Connections::open(&site.topology);
    assert_eq!(packets(&standby), 0);
    drain_b2(&[&one, &standby]);
    works(&one, true);
    standby.json(&["ready", "self"]).unwrap();
    site.wait_for_ways(2);
    one.json(&["drain", "self"]).unwrap();
    site.wait_for_ways(1);
    works(&standby, true);
    for held in connections.stop() {
        assert!(held.open_to("b2") > 0);
        assert!(held.broken.is_empty(), "{:?}", held.broken);
    }
}

/// Connections of before and during a change, of which one balancer left meanwhile.
struct Settling {
    older: [Held; 2],
    newer: [Held; 2],
    /// Connections that only the one which left knew.
    at_risk: u64,
}

fn one_leaves_while_a_change_settles(site: &Site, [one, other]: &[Xlb<'_>; 2]) -> Settling {
    let _router = site.bird_of_the_router();
    let _birds = site.birds_of_balancers();
    site.wait_for_ways(2);
    let older = Connections::open(&site.topology);
    works(one, true);
    works(other, true);
    drain_b2(&[one, other]);
    let newer = Connections::open(&site.topology);
    let at_risk = sample(other, "xlb_track_requests_total{result=\"tracked\"}");
    other.json(&["drain", "self"]).unwrap();
    site.wait_for_ways(1);
    works(other, false);
    Settling {
        older: older.stop(),
        newer: newer.stop(),
        at_risk,
    }
}

/// Older flows stay where they are, on whatever balancer. Newer ones in slots that change hands are known where
/// they began only: as many as that one tracks may break when it leaves.
#[test]
fn while_a_change_settles_only_newer_connections_are_at_risk() {
    let site = Site::new();
    let both = site.balancers(["fleet-of-two"; 2]);
    let settling = one_leaves_while_a_change_settles(&site, &both);
    for held in settling.older {
        assert!(held.broken.is_empty(), "{:?}", held.broken);
    }
    let (newer, at_risk) = (settling.newer, settling.at_risk);
    let broken: usize = newer.iter().map(|held| held.broken.len()).sum();
    let open: usize = newer.iter().map(|held| held.open.len()).sum();
    println!(
        "of {} newer connections {broken} broke, {at_risk} were at risk",
        open + broken
    );
    assert!(u64::try_from(broken).unwrap() <= at_risk);
}

/// What the others tell by time is told here by the connection itself: a backend that does not know it hands it on.
#[test]
fn what_a_balancer_cannot_know_the_backends_know() {
    let site = Site::of(Family::ALL.map(second_chance));
    let ends = site.ends();
    let both = site.balancers(["fleet-of-two"; 2]);
    let settling = one_leaves_while_a_change_settles(&site, &both);
    assert!(settling.at_risk > 0);
    for held in settling.older.into_iter().chain(settling.newer) {
        assert!(held.broken.is_empty(), "{:?}", held.broken);
    }
    let handed = ends.iter().map(|end| end.counter("handed_over").unwrap());
    let handed: u64 = handed.sum();
    println!(
        "{} connections were at risk, {handed} packets were handed over",
        settling.at_risk
    );
    assert!(handed > 0);
    let [one, _] = &both;
    nothing_was_dropped(one);
}

/// Drains one backend of every service, on all balancers.
fn drain_b2(balancers: &[&Xlb<'_>]) {
    for xlb in balancers {
        for family in Family::ALL {
            let words = ["backend", "drain", web(family).name, "b2"];
            xlb.json(&words).unwrap();
        }
    }
}

#[test]
fn the_examples_for_bird_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/bird");
    for file in ["balancer.conf", "router.conf"] {
        let mut bird = Command::new("bird");
        let checked = bird
            .arg("-p")
            .arg("-c")
            .arg(folder.join(file))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{file}: {said}");
    }
}
