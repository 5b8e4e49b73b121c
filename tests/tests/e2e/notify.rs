//! Who is told what happens: webhooks and commands, those that hang, and those that come back.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
    thread,
};

use lb_tests::{
    config::{self, Service},
    daemon::Xlb,
    fleet::Fleet,
    wait::eventually,
};
use lb_userspace::lab::{Namespace, Topology};
use serde_json::Value;

use crate::{
    page::sample,
    site::{SOON, routed, start_with, wait_for_state, wait_until_whole},
};

const GOOD: u16 = 9001;
/// It accepts, and says nothing.
const HANGS: u16 = 9002;
/// Nobody listens there at first.
const ABSENT: u16 = 9003;

/// Requests that a web server got: their heads, and their contents.
type Heard = Arc<Mutex<Vec<(String, Value)>>>;

/// A web server in a namespace that takes down what it is told, as long as the test runs.
fn listen(namespace: &Namespace, port: u16) -> Heard {
    let heard = Heard::default();
    let (listener, log) = (bind(namespace, port), Arc::clone(&heard));
    thread::spawn(move || {
        for stream in listener.incoming() {
            // The other side may have gone.
            drop(stream.and_then(|stream| take(&stream, &log)));
        }
    });
    heard
}

fn bind(namespace: &Namespace, port: u16) -> TcpListener {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    namespace
        .enter(|| TcpListener::bind(address))
        .unwrap()
        .unwrap()
}

fn take(mut stream: &TcpStream, log: &Heard) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_lowercase();
        if let Some(written) = line.strip_prefix("content-length: ") {
            length = written.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
        head += &(line + "\n");
    }
    let mut content = vec![0; length];
    reader.read_exact(&mut content)?;
    let content = serde_json::from_slice(&content).unwrap();
    log.lock().unwrap().push((head, content));
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
}

/// What `xlb status` says of a receiver.
fn receiver(xlb: &Xlb<'_>, name: &str) -> Value {
    let status = xlb.json(&["status"]).unwrap();
    let receivers = status["notify"].as_array().unwrap();
    let found = receivers.iter().find(|receiver| receiver["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {status}"))
        .clone()
}

fn wait_for(xlb: &Xlb<'_>, what: &str, is_so: impl Fn() -> bool) {
    eventually(what, SOON, || is_so().then_some(())).unwrap_or_else(|error| {
        panic!(
            "{error}\n{:#}\n{}",
            xlb.json(&["status"]).unwrap()["notify"],
            xlb.log()
        )
    });
}

/// Receivers, and a service whose backends die quickly.
fn file(topology: &Topology, receivers: &[&str]) -> String {
    let mut file = config::yaml(topology, &[Service::WEB]) + "notify:\n";
    for receiver in receivers {
        writeln!(file, "  - {{ {receiver} }}").unwrap();
    }
    file
}

fn webhook(name: &str, port: u16) -> String {
    format!("name: {name}, webhook: \"http://127.0.0.1:{port}/told?by=xlb\"")
}

/// Requests whose head has this.
fn of(heard: &Heard, path: &str) -> Vec<(String, Value)> {
    let heard = heard.lock().unwrap();
    let theirs = heard.iter().filter(|(head, _)| head.contains(path));
    theirs.cloned().collect()
}

#[test]
fn every_receiver_is_told_all_that_it_wants_in_order() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let namespace = &topology.balancer.namespace;
    let heard = listen(namespace, GOOD);
    let _silent = bind(namespace, HANGS);
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let at = told.display();
    let script = format!("echo $XLB_EVENT >> {at} && cat >> {at} && echo >> {at}");
    let all = webhook("all", GOOD) + ", headers: { X-Key: secret, content-type: text/plain }";
    let receivers: [&str; 5] = [
        &all,
        // The resolver of the host knows it.
        &format!("webhook: \"http://localhost:{GOOD}/down\", events: [down]"),
        &(webhook("silent", HANGS) + ", timeout: 500ms"),
        &format!("exec: [/bin/sh, -c, \"{script}\"], events: [down, changed]"),
        "name: fails, exec: [/bin/false]",
    ];
    let xlb = start_with(&topology, &file(&topology, &receivers));
    fleet.kill(2).unwrap();
    wait_for_state(&xlb, "web", "b2", "down");
    xlb.json(&["backend", "drain", "web", "b1"]).unwrap();
    let list = xlb.json(&["events"]).unwrap();
    let events = list["items"].as_array().unwrap();
    assert_eq!(events.len(), 5, "three rise, one dies, one is drained");
    wait_for(&xlb, "the good ones are told", || {
        let lines = fs::read_to_string(&told).unwrap_or_default();
        let requests = ["/told", "/down"].map(|path| of(&heard, path).len());
        requests == [5, 1] && lines.lines().count() == 4
    });
    assert_requests(&heard, events);
    let told = fs::read_to_string(&told).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!([lines[0], lines[2]], ["down", "changed"]);
    let message: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(message["number"], events[3]["number"]);
    assert_failures(&xlb);
}

/// All of what happened, and the one that died.
fn assert_requests(heard: &Heard, events: &[Value]) {
    for ((head, message), event) in of(heard, "/told").iter().zip(events) {
        assert!(head.starts_with("post /told?by=xlb http/1.1\n"), "{head}");
        for header in [
            "x-key: secret",
            "content-type: text/plain",
            "host: 127.0.0.1:9001",
        ] {
            assert_eq!(head.matches(header).count(), 1, "{head}");
        }
        assert_eq!(message["kind"], "Event");
        assert_eq!(message["instance"], "test");
        assert_eq!(message["dropped"], 0);
        let mut fields = event.as_object().unwrap().iter();
        assert!(
            fields.all(|(key, value)| message[key] == *value),
            "{message} {event}"
        );
    }
    let down = &of(heard, "/down")[0];
    assert!(down.0.contains("host: localhost:9001\n"), "{}", down.0);
    assert_eq!(down.1["number"], events[3]["number"]);
    assert_eq!(down.1["what"], "down");
}

/// Those that fail keep nobody waiting, and are tried again.
fn assert_failures(xlb: &Xlb<'_>) {
    for (name, why) in [("silent", "timeout"), ("fails", "exit code 1")] {
        wait_for(xlb, "it is tried again", || {
            receiver(xlb, name)["failures"].as_u64() >= Some(2)
        });
        let item = receiver(xlb, name);
        assert_eq!([&item["sent"], &item["waiting"]], [0, 5], "{item}");
        assert_eq!(item["last_failure"], why);
    }
    let sent = ["all", "localhost:9001", "sh"].map(|name| count(xlb, name, "sent"));
    assert_eq!(sent, [5, 1, 2]);
    assert!(count(xlb, "silent", "failed") >= 2);
    let waiting = "xlb_notifications_waiting{receiver=\"silent\"}";
    assert_eq!(sample(xlb, waiting), 5);
    let status = String::from_utf8(xlb.cli(&["status"]).unwrap().stdout).unwrap();
    assert!(status.contains("notify    all 5 sent"), "{status}");
}

fn count(xlb: &Xlb<'_>, name: &str, result: &str) -> u64 {
    sample(
        xlb,
        &format!("xlb_notifications_total{{receiver=\"{name}\",result=\"{result}\"}}"),
    )
}

/// Numbers, and how many were dropped before each.
fn numbers(heard: &Heard, path: &str) -> Vec<[u64; 2]> {
    let messages = of(heard, path).into_iter().map(|(_, message)| message);
    messages
        .map(|message| ["number", "dropped"].map(|key| message[key].as_u64().unwrap()))
        .collect()
}

#[test]
fn a_receiver_that_comes_back_is_told_what_waits_for_it() {
    let topology = Topology::two_armed(routed()).unwrap();
    let mut fleet = Fleet::start(&topology).unwrap();
    let whole = webhook("whole", ABSENT);
    let short = webhook("short", ABSENT) + ", queue: 2";
    let xlb = start_with(&topology, &file(&topology, &[&whole, &short]));
    for _ in 0..2 {
        fleet.kill(3).unwrap();
        wait_for_state(&xlb, "web", "b3", "down");
        fleet.revive(&topology, 3).unwrap();
        wait_until_whole(&xlb);
    }
    // One changes and keeps its queue, one stays as it is, one is new.
    let (short, new) = (
        short.replace("/told", "/short"),
        webhook("new", ABSENT).replace("/told", "/new"),
    );
    apply(&xlb, &file(&topology, &[&short, &whole, &new]));
    let list = xlb.json(&["events"]).unwrap();
    let events = list["items"].as_array().unwrap().iter();
    let all: Vec<u64> = events
        .map(|event| event["number"].as_u64().unwrap())
        .collect();
    assert_eq!(all.len(), 8, "three rise, two die and rise, one apply");
    for name in ["whole", "short"] {
        wait_for(&xlb, "it was tried", || {
            receiver(&xlb, name)["failures"].as_u64() >= Some(1)
        });
        assert_eq!(receiver(&xlb, name)["last_failure"], "refused");
    }
    assert_eq!(count(&xlb, "short", "dropped"), 6);
    assert_eq!(receiver(&xlb, "whole")["waiting"], 8);
    assert!(xlb.log().contains("events are dropped"), "{}", xlb.log());

    let heard = listen(&topology.balancer.namespace, ABSENT);
    wait_for(&xlb, "all are told", || {
        ["whole", "short", "new"]
            .iter()
            .all(|name| receiver(&xlb, name)["waiting"] == 0)
    });
    let whole: Vec<[u64; 2]> = all.iter().map(|number| [*number, 0]).collect();
    assert_eq!(numbers(&heard, "/told"), whole);
    assert_eq!(numbers(&heard, "/short"), [[all[6], 6], [all[7], 0]]);
    assert_eq!(numbers(&heard, "/new"), [[all[7], 0]]);
    assert!(xlb.log().contains("is told again"), "{}", xlb.log());

    // One that is gone is not told any more.
    apply(&xlb, &config::yaml(&topology, &[Service::WEB]));
    let status = xlb.json(&["status"]).unwrap();
    assert_eq!(status["notify"].as_array().unwrap().len(), 0);
}

fn apply(xlb: &Xlb<'_>, file: &str) {
    fs::write(xlb.config_file(), file).unwrap();
    let applied = xlb.cli(&["apply"]).unwrap();
    assert!(applied.status.success(), "{applied:?}");
}
