//! Two balancers behind one router: flows that come to the other one than before go on, also while backends
//! change.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    thread,
    time::Duration,
};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::Fleet,
    load::{Client as _, Datagrams, Held, Load},
    pair::{Balancer, Second},
    wait::eventually,
};
use lb_userspace::lab::{Family, Namespace, Topology};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    page::sample,
    site::{SOON, nothing_was_dropped, routed, start_at, wait_until_whole},
};

const WEB: Service<'_> = Service {
    more: &["idle: 60s"],
    ..Service::WEB
};
const WEB6: Service<'_> = Service {
    name: "web6",
    family: Family::V6,
    ..WEB
};
const NAMES: Service<'_> = Service::NAMES;

/// The same without new flows for `b2`.
const fn changed(service: Service<'_>) -> Service<'_> {
    Service {
        weights: &[1, 0, 1],
        ..service
    }
}

/// Flows are over soon.
const SHORT: [Service<'_>; 2] = [
    Service {
        more: &["idle: 4s"],
        ..WEB
    },
    Service {
        more: &["idle: 4s"],
        ..WEB6
    },
];
const BEFORE: [Service<'_>; 3] = [WEB, WEB6, NAMES];
const AFTER: [Service<'_>; 3] = [changed(WEB), changed(WEB6), changed(NAMES)];

/// Two balancers' files and the key.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        files.write("key", "0123456789abcdef0123456789abcdef", 0o600);
        files
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A balancer's file with this key.
    fn of(&self, pair: &Second<'_>, who: Balancer, key: &str, services: &[Service<'_>]) -> String {
        let topology = pair.topology();
        let peers = pair.lines(who, &self.folder.path().join(key));
        peers + &config::yaml(topology, services)
    }
}

fn apply(xlb: &Xlb<'_>, file: &str) {
    fs::write(xlb.config_file(), file).unwrap();
    xlb.json(&["apply"]).unwrap();
}

/// The other balancer, as one sees it.
fn other(xlb: &Xlb<'_>) -> Value {
    let status = xlb.json(&["status"]).unwrap();
    let items = status["peers"]["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{status}");
    items[0].clone()
}

fn wait_until_connected(balancers: &[&Xlb<'_>]) {
    for xlb in balancers {
        xlb.wait_until_peer_knows(SOON).unwrap();
    }
}

/// Waits until one balancer has told everything, and the other has taken it.
fn wait_until_told(from: &Xlb<'_>, to: &Xlb<'_>) {
    // A look that began before is over, then, on a busy machine too.
    thread::sleep(Duration::from_secs(1));
    let told = || {
        let (sent, received) = (other(from)["sent"].as_u64(), other(to)["received"].as_u64());
        (sent == received && sent > Some(0)).then_some(())
    };
    eventually("what is news to the other is told", SOON, told).unwrap();
}

fn lag(xlb: &Xlb<'_>) -> Option<u64> {
    other(xlb)["lag_us"].as_u64()
}

fn hold(client: &Namespace, topology: &Topology, connections: usize) -> [Held; 2] {
    [WEB, WEB6].map(|service| Held::open(client, service.vip(topology), connections).unwrap())
}

/// Asks every connection some times; how many broke.
fn ask(held: &mut [Held]) -> usize {
    for held in held.iter_mut() {
        for _ in 0..3 {
            held.turn();
        }
    }
    held.iter().map(|held| held.broken.len()).sum()
}

fn packets(xlb: &Xlb<'_>) -> u64 {
    let list = xlb.json(&["backend", "list"]).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["packets"].as_u64().unwrap()).sum()
}

fn refused(xlb: &Xlb<'_>, reason: &str) -> u64 {
    sample(
        xlb,
        &format!("xlb_peer_refused_total{{reason=\"{reason}\"}}"),
    )
}

/// What a balancer did not take of what its peers told.
fn left(xlb: &Xlb<'_>, why: &str) -> u64 {
    sample(
        xlb,
        &format!("xlb_peer_entries_not_taken_total{{reason=\"{why}\"}}"),
    )
}

fn moving(xlb: &Xlb<'_>, service: &str) -> u64 {
    sample(xlb, &format!("xlb_moving_rows{{service=\"{service}\"}}"))
}

#[test]
fn flows_go_on_at_the_other_balancer_while_backends_change() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let pair = Second::join(&topology).unwrap();
    let files = Files::new();
    let file = |who, services: &[Service<'_>]| files.of(&pair, who, "key", services);
    let one = start_at(
        &topology.balancer.namespace,
        &file(Balancer::First, &BEFORE),
    );
    let two = start_at(&pair.namespace, &file(Balancer::Second, &BEFORE));
    wait_until_connected(&[&one, &two]);

    let client = &topology.client.namespace;
    let mut early = hold(client, &topology, 40);
    let datagrams = Datagrams::new(client, NAMES.vip(&topology), 40).unwrap();
    let datagrams = Load::start(client, datagrams, Duration::from_millis(5)).unwrap();
    thread::sleep(Duration::from_millis(300));
    apply(&one, &file(Balancer::First, &AFTER));
    apply(&two, &file(Balancer::Second, &AFTER));
    let mut late = hold(client, &topology, 60);
    assert!(late.iter().all(|late| late.open_to("b2") == 0));
    wait_until_told(&one, &two);
    println!("lag: {:?} µs", lag(&one));
    assert!(lag(&one).is_some());
    assert!(moving(&two, "web") > 0 && moving(&two, "web6") > 0);
    assert!(sample(&two, "xlb_tracked_flows") > 0);

    pair.lead_through(Balancer::Second).unwrap();
    assert_eq!(ask(&mut early) + ask(&mut late), 0, "{early:?} {late:?}");
    assert!(packets(&two) > 0);
    let mut at_two = hold(client, &topology, 40);
    wait_until_told(&two, &one);
    pair.lead_through(Balancer::First).unwrap();
    let broken = ask(&mut early) + ask(&mut late) + ask(&mut at_two);
    assert_eq!(broken, 0, "{early:?} {late:?} {at_two:?}");

    let datagrams = datagrams.stop().unwrap();
    assert!(datagrams.failed.is_empty(), "{:?}", datagrams.failed);
    assert_eq!(datagrams.servers(), ["b1", "b2", "b3"]);
    nothing_was_dropped(&one);
    nothing_was_dropped(&two);
}

/// What the test above would see if balancers did not tell each other.
#[test]
fn without_peers_flows_of_moving_rows_break_at_the_other_balancer() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let pair = Second::join(&topology).unwrap();
    let file =
        |service: Service<'_>| format!("hash_seed: pair\n{}", config::yaml(&topology, &[service]));
    let one = start_at(&topology.balancer.namespace, &file(WEB));
    let two = start_at(&pair.namespace, &file(WEB));
    let client = &topology.client.namespace;
    let open = |connections| [Held::open(client, WEB.vip(&topology), connections).unwrap()];
    // Both have had flows of every backend, so that rows of both have a history.
    pair.lead_through(Balancer::Second).unwrap();
    let mut at_two = open(40);
    pair.lead_through(Balancer::First).unwrap();
    let mut early = open(40);
    apply(&one, &file(changed(WEB)));
    apply(&two, &file(changed(WEB)));
    let mut late = open(120);
    // The daemon counts every two seconds.
    thread::sleep(Duration::from_secs(4));
    let tracked = sample(&one, "xlb_tracked_flows");
    assert!(tracked > 0);

    pair.lead_through(Balancer::Second).unwrap();
    assert_eq!(ask(&mut early) + ask(&mut at_two), 0);
    let broken = ask(&mut late);
    println!("{broken} of 120 broke: {tracked} were opened in moving rows");
    assert_eq!(broken as u64, tracked);
}

#[test]
fn a_balancer_that_joins_is_told_what_it_missed() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let pair = Second::join(&topology).unwrap();
    let files = Files::new();
    let file = |who, services: &[Service<'_>]| files.of(&pair, who, "key", services);
    let one = start_at(
        &topology.balancer.namespace,
        &file(Balancer::First, &BEFORE),
    );
    let client = &topology.client.namespace;
    let mut early = hold(client, &topology, 40);
    apply(&one, &file(Balancer::First, &AFTER));
    let mut late = hold(client, &topology, 60);

    // Not every backend takes new flows.
    let mut two = Xlb::start(&pair.namespace, &file(Balancer::Second, &AFTER)).unwrap();
    wait_until_connected(&[&one, &two]);
    assert!(moving(&two, "web") > 0 && moving(&two, "web6") > 0);
    assert!(other(&two)["received"].as_u64() > Some(0));
    pair.lead_through(Balancer::Second).unwrap();
    assert_eq!(ask(&mut early) + ask(&mut late), 0, "{early:?} {late:?}");

    // What came up while it was away is told to the next daemon.
    two.kill().unwrap();
    pair.lead_through(Balancer::First).unwrap();
    let mut missed = hold(client, &topology, 40);
    two.start_again().unwrap();
    wait_until_connected(&[&two, &one]);
    pair.lead_through(Balancer::Second).unwrap();
    let broken = ask(&mut early) + ask(&mut late) + ask(&mut missed);
    assert_eq!(broken, 0, "{early:?} {late:?} {missed:?}");
    nothing_was_dropped(&two);
}

/// A backend that was taken out has flows still. Who joins later has it in no file, and learns of it.
#[test]
fn a_balancer_that_joins_learns_of_backends_on_their_way_out() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let pair = Second::join(&topology).unwrap();
    let files = Files::new();
    let file = |who, services: &[Service<'_>]| files.of(&pair, who, "key", services);
    let without = SHORT.map(|service| Service {
        weights: &[1, 1],
        ..service
    });
    let one = start_at(&topology.balancer.namespace, &file(Balancer::First, &SHORT));
    let client = &topology.client.namespace;
    let mut held = hold(client, &topology, 40);
    apply(&one, &file(Balancer::First, &without));
    let [b3, _] = held.each_ref().map(|held| held.open_to("b3"));
    assert!(b3 > 0);

    let two = Xlb::start(&pair.namespace, &file(Balancer::Second, &without)).unwrap();
    wait_until_connected(&[&one, &two]);
    assert!(two.log().contains("not configured here"), "{}", two.log());
    assert_eq!(left(&two, "unknown_backend"), 0);
    pair.lead_through(Balancer::Second).unwrap();
    assert_eq!(ask(&mut held), 0, "{held:?}");
    nothing_was_dropped(&two);

    // It goes when its flows do.
    drop(held);
    let gone = || (moving(&one, "web") + moving(&two, "web") == 0).then_some(());
    eventually("the rows are at rest", Duration::from_secs(40), gone).unwrap();
}

#[test]
fn who_has_another_key_or_is_no_peer_is_turned_away() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let pair = Second::join(&topology).unwrap();
    let files = Files::new();
    files.write("other", "abcdefghabcdefghabcdefghabcdefgh", 0o600);
    files.write("open", "0123456789abcdef0123456789abcdef", 0o644);
    let file = |who, key| files.of(&pair, who, key, &[WEB]);
    let one = start_at(&topology.balancer.namespace, &file(Balancer::First, "key"));
    let two = start_at(&pair.namespace, &file(Balancer::Second, "other"));
    let turned_away = || (refused(&one, "key") > 0 && refused(&two, "rejected") > 0).then_some(());
    eventually("the other key is refused", SOON, turned_away).unwrap();
    assert!(
        one.log().contains("the peer has another key"),
        "{}",
        one.log()
    );
    let peer = pair.listens(Balancer::Second);
    for direction in ["sent", "received"] {
        let connected = format!("xlb_peer_connected{{peer=\"{peer}\",direction=\"{direction}\"}}");
        assert_eq!(sample(&one, &connected), 0);
    }

    let listen = pair.listens(Balancer::First);
    call(
        &pair.namespace,
        listen,
        b"GET / HTTP/1.1\r\nHost: xlb\r\n\r\n",
    );
    call(&pair.namespace, listen, b"xlb-peer\x63");
    let told_apart =
        || (refused(&one, "not_a_peer") > 0 && refused(&one, "version") > 0).then_some(());
    eventually("others are told apart", SOON, told_apart).unwrap();

    fs::write(two.config_file(), file(Balancer::Second, "open")).unwrap();
    let output = two.cli(&["apply"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("mode 0644") && said.contains("chmod 600"),
        "{said}"
    );

    // The same file with the right key in it.
    apply(&two, &file(Balancer::Second, "other"));
    files.write("other", "0123456789abcdef0123456789abcdef", 0o600);
    two.json(&["apply"]).unwrap();
    let balancers = [&one, &two];
    for xlb in balancers {
        wait_until_whole(xlb);
    }
    let long = Duration::from_secs(30);
    let connected = || (other(&one)["told"] == true && other(&two)["told"] == true).then_some(());
    eventually("the balancers call again", long, connected).unwrap();
    wait_until_connected(&balancers);
}

/// Says something to a port, and waits until the other end has had enough.
fn call(from: &Namespace, to: SocketAddr, bytes: &[u8]) {
    let talk = || {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut said = Vec::new();
        // It is reset where not all was read.
        stream.read_to_end(&mut said).unwrap_or_default();
    };
    from.enter(talk).unwrap();
}

#[test]
fn tables_that_differ_are_told() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let pair = Second::join(&topology).unwrap();
    let files = Files::new();
    let file = |who, service| files.of(&pair, who, "key", &[service]);
    let one = start_at(&topology.balancer.namespace, &file(Balancer::First, WEB));
    let two = start_at(&pair.namespace, &file(Balancer::Second, WEB));
    wait_until_connected(&[&one, &two]);
    let differ = |xlb: &Xlb<'_>, peer| {
        let listen = pair.listens(peer);
        sample(xlb, &format!("xlb_peer_tables_differ{{peer=\"{listen}\"}}"))
    };
    let both = |count| {
        let found = (
            differ(&one, Balancer::Second),
            differ(&two, Balancer::First),
        );
        (found == (count, count)).then_some(())
    };
    eventually("tables are the same", SOON, || both(0)).unwrap();
    assert_eq!(other(&one)["tables_differ"], Value::Array(Vec::new()));

    apply(&two, &file(Balancer::Second, changed(WEB)));
    eventually("tables differ", SOON, || both(1)).unwrap();
    assert_eq!(other(&one)["tables_differ"], serde_json::json!(["web"]));
    let is_logged =
        |words: &'static str| move |xlb: &Xlb<'_>| xlb.log().contains(words).then_some(());
    let says = is_logged("slot tables differ from those of a peer");
    eventually("it is an event", SOON, || says(&one)).unwrap();

    apply(&one, &file(Balancer::First, changed(WEB)));
    eventually("tables are the same", SOON, || both(0)).unwrap();
    let says = is_logged("slot tables are those of a peer again");
    eventually("that is an event, too", SOON, || says(&one)).unwrap();
}
