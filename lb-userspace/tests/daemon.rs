//! The daemon and the command line on real traffic, in namespaces; needs root.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests panic, their helpers too"
)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use lb_userspace::lab::{Host, Options, Process, Topology, unique_name};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

const LOOKS: u32 = 1000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A balancer with two backends, and the folders of one instance.
struct Bed {
    lab: Topology,
    folder: TempDir,
    pins: PathBuf,
}

impl Bed {
    fn new() -> Self {
        let options = Options {
            backends: 2,
            forward: true,
            ..Options::default()
        };
        let bed = Self {
            lab: Topology::two_armed(options).unwrap(),
            folder: tempfile::tempdir().unwrap(),
            pins: PathBuf::from("/sys/fs/bpf").join(unique_name("xlb-daemon")),
        };
        for (host, name) in bed.lab.backends.iter().zip(["b1", "b2"]) {
            serve(host, name);
        }
        bed.write("xlb.yaml", "b1", "b2");
        bed
    }

    fn write(&self, file: &str, first: &str, second: &str) {
        let interfaces = self.lab.interfaces().join(", ");
        let [one, two] = [0, 1].map(|i| self.lab.backends[i].link.address.v4);
        let text = format!(
            "interfaces: [{interfaces}]
services:
  - name: web
    vip: {vip}:80/tcp
    probe: {{ interval: 100ms, timeout: 100ms, rise: 1, fall: 2 }}
    backends:
      - {{ address: {one}:8080, name: {first} }}
      - {{ address: {two}:8080, name: {second} }}
",
            vip = self.lab.vip.v4,
        );
        fs::write(self.folder.path().join(file), text).unwrap();
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, words: &[&str]) -> Command {
        let folder = self.folder.path();
        let mut command = self
            .lab
            .balancer
            .namespace
            .command(env!("CARGO_BIN_EXE_xlb"));
        command.arg("--run-dir").arg(folder.join("run"));
        command.arg("--state-dir").arg(folder.join("state"));
        command.arg("--pin-dir").arg(&self.pins);
        command.args(words);
        command
    }

    fn xlb(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs `xlb`, which must succeed; what it prints.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.xlb(words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn code(&self, words: &[&str]) -> Option<i32> {
        self.xlb(words).status.code()
    }

    fn json(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = words.iter().chain(&["-o", "json"]).copied().collect();
        serde_json::from_str(&self.ok(&words)).unwrap()
    }

    fn start(&self) -> Process {
        let file = self.file("xlb.yaml");
        let mut command = self.command(&["run", "-c", &file, "--metrics", "127.0.0.1:0"]);
        command.stderr(Stdio::inherit());
        let daemon = Process::start(&mut command).unwrap();
        self.ok(&["status", "--wait", "20s"]);
        daemon
    }

    /// Waits until every backend is in this state.
    fn settle(&self, wanted: &[(&str, &str)]) {
        let mut seen = Value::Null;
        for _ in 0..LOOKS {
            seen = self.json(&["backend", "list", "web"]);
            let is = |(name, state): &(&str, &str)| {
                let items = seen["items"].as_array().unwrap();
                let mut items = items.iter();
                items.any(|item| item["name"] == *name && item["state"] == *state)
            };
            if wanted.iter().all(is) {
                return;
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        panic!("{wanted:?}: {seen}");
    }

    /// Connects to the VIP this often; who answered how often.
    fn ask(&self, times: usize) -> [usize; 2] {
        let vip = SocketAddr::new(self.lab.vip.v4.into(), 80);
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&vip, Duration::from_secs(2)).unwrap();
            let mut name = String::new();
            stream.read_to_string(&mut name).unwrap();
            name
        };
        let client = &self.lab.client.namespace;
        let names: Vec<String> = client
            .enter(|| (0..times).map(|_| ask()).collect())
            .unwrap();
        ["b1", "b2"].map(|name| names.iter().filter(|answer| *answer == name).count())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.command(&["detach"]).output());
        drop(fs::remove_dir(&self.pins));
    }
}

/// Answers every connection to port 8080 with a name.
fn serve(host: &Host, name: &'static str) {
    let listener = host.namespace.enter(|| TcpListener::bind("0.0.0.0:8080"));
    let listener = listener.unwrap().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A probe does not wait for the answer.
            drop(stream.and_then(|mut stream| stream.write_all(name.as_bytes())));
        }
    });
}

#[test]
fn the_data_path_outlives_its_daemon_and_the_next_one_takes_it_over() {
    let bed = Bed::new();
    let mut daemon = bed.start();
    bed.settle(&[("b1", "up"), ("b2", "up")]);
    bed.ok(&["backend", "weight", "web", "b2", "3"]);
    let before = bed.json(&["status"]);
    assert_eq!(before["adopted"], false);
    assert_eq!(before["services"][0]["backends_up"], 2);

    daemon.kill().unwrap();
    assert_eq!(bed.code(&["status"]), Some(4));
    let [b1, b2] = bed.ask(40);
    assert_eq!(b1 + b2, 40, "forwarding goes on without a daemon");
    assert!(b1 > 0 && b2 > 0, "{b1} {b2}");

    let mut daemon = bed.start();
    let after = bed.json(&["status"]);
    assert_eq!(after["adopted"], true);
    for key in ["revision", "interfaces"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    let checksum = |status: &Value| status["services"][0]["table_checksum"].clone();
    assert_eq!(checksum(&after), checksum(&before));
    let backends = bed.json(&["backend", "list"]);
    assert_eq!(backends["items"][1]["weight"], 3, "overrides survive");
    assert_eq!(backends["items"][0]["state"], "up", "states are adopted");
    assert_eq!(bed.code(&["run", "-c", &bed.file("xlb.yaml")]), Some(1));

    daemon.signal(Signal::SIGTERM).unwrap();
    assert!(daemon.wait(Duration::from_secs(5)).unwrap().success());
    assert_eq!(bed.ask(10).iter().sum::<usize>(), 10);
    bed.ok(&["detach"]);
    assert!(!bed.pins.join("default").exists());
}

#[test]
fn a_change_by_hand_moves_slots_at_once_and_is_guarded() {
    let bed = Bed::new();
    let _daemon = bed.start();
    bed.settle(&[("b1", "up"), ("b2", "up")]);
    let said = bed.ok(&["backend", "drain", "web", "b1"]);
    assert!(
        said.contains("slots moved") && said.contains("stay where they are"),
        "{said}"
    );
    assert!(said.contains("backend ready web b1"), "{said}");
    assert_eq!(bed.ask(20), [0, 20]);
    for verb in ["drain", "maint", "remove"] {
        assert_eq!(bed.code(&["backend", verb, "web", "b2"]), Some(6), "{verb}");
    }
    assert_eq!(bed.code(&["backend", "weight", "web", "b2", "0"]), Some(6));
    assert_eq!(bed.code(&["backend", "drain", "web", "b3"]), Some(5));
    assert_eq!(bed.ask(5), [0, 5], "what was refused changed nothing");
    bed.ok(&["backend", "drain", "web", "b2", "--force"]);
    assert_eq!(bed.json(&["status"])["services"][0]["up"], false);
    assert_eq!(bed.code(&["status", "--exit-code"]), Some(8));
    bed.ok(&["backend", "reset", "web", "b2"]);
    bed.ok(&["backend", "ready", "web", "b1"]);
    let [b1, b2] = bed.ask(40);
    assert!(b1 > 0 && b2 > 0, "{b1} {b2}");
}

#[test]
fn a_change_for_a_while_ends_by_itself() {
    let bed = Bed::new();
    let _daemon = bed.start();
    bed.settle(&[("b1", "up"), ("b2", "up")]);
    bed.ok(&["backend", "maint", "web", "b1", "--for", "1s"]);
    assert_eq!(bed.ask(5), [0, 5]);
    let backends = bed.json(&["backend", "list"]);
    assert_eq!(backends["items"][0]["admin"], "maint");
    assert_eq!(backends["items"][0]["override"]["what"], "maint");
    bed.settle(&[("b1", "up")]);
    assert_eq!(bed.json(&["backend", "list"])["items"][0]["admin"], "ready");
}

#[test]
fn a_bad_file_changes_nothing_and_a_good_one_is_applied_whole() {
    let bed = Bed::new();
    let mut daemon = bed.start();
    bed.settle(&[("b1", "up"), ("b2", "up")]);
    let before = bed.json(&["status"]);
    bed.write("bad.yaml", "same", "same");
    let output = bed.xlb(&["apply", "-c", &bed.file("bad.yaml"), "-o", "json"]);
    assert_eq!(output.status.code(), Some(3));
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["code"], "config_invalid");
    let after = bed.json(&["status"]);
    assert_eq!(after["revision"], before["revision"]);
    assert_eq!(after["config"]["last_reload_successful"], false);
    assert_eq!(bed.json(&["apply"])["items"][0]["changed"], false);

    bed.write("xlb.yaml", "one", "two");
    assert_eq!(bed.json(&["apply"])["items"][0]["changed"], true);
    bed.settle(&[("one", "up"), ("two", "up")]);
    bed.write("xlb.yaml", "b1", "b2");
    daemon.signal(Signal::SIGHUP).unwrap();
    bed.settle(&[("b1", "up"), ("b2", "up")]);
    assert_eq!(bed.ask(10).iter().sum::<usize>(), 10);
}
