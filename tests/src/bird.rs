//! BIRD, the routing software, in a namespace: what announces a balancer's VIPs, and what believes it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Family, Link, Namespace, Pair, Process};
use tempfile::TempDir;

use crate::wait::eventually;

/// How long it may take to start.
const START: Duration = Duration::from_secs(10);

/// Number of the router's system, and of the balancers'.
const ROUTER: u32 = 65_000;
const BALANCERS: u32 = 65_001;

/// A neighbour that is silent for so long is dead: three packets that did not come.
/// More patient than routers are: a busy machine is no failure.
const BFD: &str = "protocol bfd { interface \"*\" { interval 100 ms; multiplier 10; }; }\n";

/// A running BIRD; killed when dropped.
#[derive(Debug)]
pub struct Bird<'a> {
    namespace: &'a Namespace,
    process: Process,
    folder: TempDir,
}

impl<'a> Bird<'a> {
    /// Starts it with a configuration, and waits until it answers.
    ///
    /// # Errors
    /// If it is not installed, or refuses the configuration.
    pub fn start(namespace: &'a Namespace, config: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for BIRD")?;
        let (file, log) = (folder.path().join("bird.conf"), folder.path().join("log"));
        fs::write(&file, format!("log \"{}\" all;\n{config}", log.display()))?;
        let mut command = namespace.command("bird");
        command.arg("-f").arg("-c").arg(&file);
        command.arg("-s").arg(folder.path().join("ctl"));
        command.arg("-P").arg(folder.path().join("pid"));
        let process = Process::start(&mut command)?;
        let bird = Self {
            namespace,
            process,
            folder,
        };
        let answers = || bird.ask("show status").ok().map(drop);
        eventually("BIRD answers", START, answers)
            .with_context(|| format!("log of BIRD:\n{}", bird.log()))?;
        Ok(bird)
    }

    /// What it answers to a command of its own, such as `show route`.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn ask(&self, command: &str) -> Result<String> {
        let socket = self.folder.path().join("ctl");
        let socket = socket.to_string_lossy();
        let words = ["birdc", "-r", "-s", &socket].into_iter();
        Ok(self.namespace.run(words.chain(command.split(' ')))?)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Its process, to be signalled.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// A balancer announces what xlb has put into table 77 with its mark, 200: the lines of
/// docs/operations.md.
#[must_use]
pub fn balancer(own: &Link, router: &Link) -> String {
    let mut text = format!(
        "router id {};\nprotocol device {{ }}\n{BFD}",
        own.address.v4
    );
    for (family, word) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
        let table = format!("vips_{word}");
        let learned = format!(
            "{word} table {table};\n\
             protocol kernel {{\n  kernel table 77;\n  learn;\n  \
             {word} {{ table {table}; import where krt_source = 200; export none; }};\n}}\n"
        );
        let channel = format!("{word} {{ table {table}; import none; export all; }};");
        text += &learned;
        text += &session(
            &format!("router_{word}"),
            own,
            router,
            family,
            BALANCERS,
            ROUTER,
            &channel,
        );
    }
    text
}

/// A router believes balancers, each behind an interface of its own, and divides flows among them.
#[must_use]
pub fn router(neighbours: &[(&Link, &Link)]) -> String {
    let id = neighbours[0].0.address.v4;
    let mut text = format!("router id {id};\nprotocol device {{ }}\n{BFD}");
    for (family, word) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
        let installed = format!(
            "protocol kernel {{\n  merge paths on;\n  \
             {word} {{ import none; export where source = RTS_BGP; }};\n}}\n"
        );
        text += &installed;
        for (number, (own, balancer)) in (1..).zip(neighbours) {
            let channel = format!("{word} {{ import all; export none; }};");
            let name = format!("balancer{number}_{word}");
            text += &session(&name, own, balancer, family, ROUTER, BALANCERS, &channel);
        }
    }
    text
}

fn session(
    name: &str,
    own: &Link,
    other: &Link,
    family: Family,
    own_system: u32,
    system: u32,
    channel: &str,
) -> String {
    let address = |pair: Pair| pair.of(family);
    let (local, neighbour) = (address(own.address), address(other.address));
    format!(
        "protocol bgp {name} {{\n  local {local} as {own_system};\n  neighbor {neighbour} as {system};\n  \
         bfd on;\n  connect delay time 1;\n  error wait time 1, 2;\n  {channel}\n}}\n"
    )
}
