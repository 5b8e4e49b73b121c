//! Backends of which clients' packets show that something is wrong.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use lb_tests::{config::Service, daemon::Xlb, fleet::Fleet, wait::eventually};
use lb_userspace::lab::{Host, Topology};
use serde_json::Value;

use crate::{
    page::sample,
    site::{SOON, backend, connects, nothing_was_dropped, routed, start, wait_for_state},
};

const PORT: u16 = 7000;

/// Says its number to whoever sends it a byte. Dropped, it does not listen any more; connections go on.
struct Server(Arc<AtomicBool>);

impl Server {
    fn start(host: &Host, number: u8) -> Self {
        let listen = || TcpListener::bind(("0.0.0.0", PORT)).unwrap();
        let listener = host.namespace.enter(listen).unwrap();
        listener.set_nonblocking(true).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let server = Self(Arc::clone(&is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(thread::spawn(move || answer(stream, number))),
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn answer(mut stream: TcpStream, number: u8) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        stream.write_all(&[number])?;
    }
    Ok(())
}

/// Who serves a connection.
fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
    let mut byte = [0];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn open(topology: &Topology, vip: SocketAddr) -> std::io::Result<TcpStream> {
    let connect = || TcpStream::connect_timeout(&vip, Duration::from_secs(1));
    let stream = topology.client.namespace.enter(connect).unwrap()?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    Ok(stream)
}

/// Opens so many connections, one after the other; those that opened.
fn knock(topology: &Topology, vip: SocketAddr, connections: usize) -> usize {
    let opened = (0..connections).filter(|_| connects(&topology.client.namespace, vip));
    opened.count()
}

fn passive(xlb: &Xlb<'_>, name: &str) -> Value {
    backend(xlb, "web", name)["passive"].clone()
}

/// What happened to the second backend for what packets show, with causes.
fn told(xlb: &Xlb<'_>) -> Vec<(String, String)> {
    let events = xlb.json(&["events"]).unwrap();
    let items = events["items"].as_array().unwrap().iter();
    let words = ["suspected", "trusted", "ejected", "readmitted"];
    let wanted = items.filter(|event| words.contains(&event["what"].as_str().unwrap()));
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    wanted
        .map(|event| {
            assert_eq!(event["backend"], "b2", "{event}");
            (text(event, "what"), text(event, "cause"))
        })
        .collect()
}

fn words(told: &[(String, String)]) -> Vec<&str> {
    told.iter().map(|(what, _)| what.as_str()).collect()
}

fn list(xlb: &Xlb<'_>) -> String {
    String::from_utf8(xlb.cli(&["backend", "list"]).unwrap().stdout).unwrap()
}

/// The second backend, everywhere that it is shown.
fn is_seen_to_be_ejected(xlb: &Xlb<'_>) {
    let events = told(xlb);
    assert_eq!(words(&events), ["suspected", "ejected"]);
    // RSTs are seen a second before what does not open; what is ejected for is the latter.
    for words in ["connections did not open", "no new flows for 8s"] {
        assert!(events[1].1.contains(words), "{events:?}");
    }
    let found = backend(xlb, "web", "b2");
    assert_eq!(
        (&found["state"], &found["slots"]),
        (&"up".into(), &0.into())
    );
    assert!(list(xlb).contains("up (ejected)"), "{}", list(xlb));
    let labels = "{service=\"web\",backend=\"b2\"}";
    for name in [
        "connections_tried_total",
        "connections_opened_total",
        "resets_total",
        "ejected",
        "suspected",
    ] {
        assert!(
            sample(xlb, &format!("xlb_backend_{name}{labels}")) > 0,
            "{name}"
        );
    }
}

const UNPROBED: Service<'_> = Service {
    probe: "none",
    backend_port: PORT,
    ..Service::WEB
};

#[test]
fn one_that_takes_no_connections_gets_none_and_keeps_those_that_it_has() {
    let topology = Topology::two_armed(routed()).unwrap();
    let hosts = topology.backends.iter();
    let mut servers: Vec<_> = (1..)
        .zip(hosts)
        .map(|(number, host)| Server::start(host, number))
        .collect();
    let service = Service {
        more: &["passive: { act: eject, least: 10, failing: 60%, eject_for: 8s }"],
        ..UNPROBED
    };
    let xlb = start(&topology, &[service]);
    let vip = service.vip(&topology);
    let mut kept: Vec<_> = (0..60).map(|_| open(&topology, vip).unwrap()).collect();
    kept.retain_mut(|stream| ask(stream).unwrap() == 2);
    assert!(!kept.is_empty());
    let has_seen = || (passive(&xlb, "b2")["opened"].as_u64() > Some(0)).then_some(());
    eventually("what opens is counted", SOON, has_seen).unwrap();
    assert_eq!(told(&xlb), []);

    drop(servers.remove(1));
    let ejected = || {
        knock(&topology, vip, 30);
        (!passive(&xlb, "b2")["ejected_for_seconds"].is_null()).then_some(())
    };
    eventually("it is ejected", SOON, ejected).unwrap_or_else(|_| panic!("{}", xlb.log()));
    is_seen_to_be_ejected(&xlb);

    assert_eq!(knock(&topology, vip, 40), 40);
    for stream in &mut kept {
        assert_eq!(ask(stream).unwrap(), 2);
    }
    servers.push(Server::start(&topology.backends[1], 2));
    let readmitted = || (backend(&xlb, "web", "b2")["slots"] != 0).then_some(());
    eventually("it is taken back", SOON * 2, readmitted).unwrap();
    assert_eq!(words(&told(&xlb))[2..], ["readmitted"]);
    assert_eq!(knock(&topology, vip, 40), 40);
    for stream in &mut kept {
        assert_eq!(ask(stream).unwrap(), 2);
    }
    nothing_was_dropped(&xlb);
}

#[test]
fn one_that_is_suspected_is_probed_at_once() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let service = Service {
        probe: "{ interval: 10m, timeout: 100ms, rise: 1, fall: 1 }",
        more: &["passive: { act: probe, least: 10, failing: 60% }"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[service]);
    let vip = service.vip(&topology);
    fleet.kill(2).unwrap();
    assert_eq!(backend(&xlb, "web", "b2")["state"], "up");
    let is_down = || {
        knock(&topology, vip, 30);
        (backend(&xlb, "web", "b2")["state"] == "down").then_some(())
    };
    eventually("it is probed", SOON, is_down).unwrap_or_else(|_| panic!("{}", xlb.log()));
    assert_eq!(words(&told(&xlb)), ["suspected"]);
    assert_eq!(knock(&topology, vip, 40), 40);
}

#[test]
fn one_that_is_only_watched_is_told_of() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let service = Service {
        probe: "none",
        more: &["passive: { act: watch, least: 10 }"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[service]);
    let vip = service.vip(&topology);
    fleet.kill(2).unwrap();
    let is_told = || {
        knock(&topology, vip, 30);
        (words(&told(&xlb)) == ["suspected"]).then_some(())
    };
    eventually("it is suspected", SOON, is_told).unwrap_or_else(|_| panic!("{}", xlb.log()));
    assert!(list(&xlb).contains("up (suspected)"), "{}", list(&xlb));
    assert!(backend(&xlb, "web", "b2")["slots"].as_u64() > Some(0));
    fleet.revive(&topology, 2).unwrap();
    let is_trusted = || {
        knock(&topology, vip, 30);
        (words(&told(&xlb)) == ["suspected", "trusted"]).then_some(())
    };
    eventually("it is trusted", SOON * 2, is_trusted).unwrap();
    assert!(list(&xlb).lines().all(|line| !line.contains("suspected")));
}

/// A client that gets no answer sends its SYN again.
#[test]
fn syns_that_come_again_are_counted() {
    let topology = Topology::two_armed(routed()).unwrap();
    let _fleet = Fleet::start(&topology).unwrap();
    let service = Service {
        probe: "none",
        more: &["passive: watch"],
        ..Service::WEB
    };
    let xlb = start(&topology, &[service]);
    let hush = [
        "nft",
        "add table inet hush; add chain inet hush in { type filter hook input priority 0; }; \
         add rule inet hush in tcp dport 8080 drop",
    ];
    topology.backends[1].namespace.run(hush).unwrap();
    wait_for_state(&xlb, "web", "b2", "up");
    let came_again = || {
        knock_patiently(&topology, service.vip(&topology), 8);
        (passive(&xlb, "b2")["again"].as_u64() > Some(0)).then_some(())
    };
    eventually("they are counted", SOON * 2, came_again).unwrap();
    let labels = "{service=\"web\",backend=\"b2\"}";
    assert!(sample(&xlb, &format!("xlb_backend_syns_again_total{labels}")) > 0);
}

/// Tries to open so many connections at a time, each for longer than it takes until a SYN comes again.
fn knock_patiently(topology: &Topology, vip: SocketAddr, connections: usize) {
    let patience = Duration::from_millis(1300);
    let connect = move || drop(TcpStream::connect_timeout(&vip, patience));
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| topology.client.namespace.enter(connect).unwrap());
        }
    });
}
