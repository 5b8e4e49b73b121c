//! Where the story plays: the network, the servers, the daemon and the client; and the command line,
//! as an operator has it.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{
    claim::{Claim, MARK},
    interrupt::{Interrupt, POLL},
    load::{Client, EPHEMERAL_PORTS},
    screen::Screen,
};
use crate::{
    api::types::Status,
    daemon::Instance,
    lab::{Family, Namespace, Options, Process, Topology},
};

/// Where the servers listen, TCP and UDP.
const SERVER_PORT: u16 = 8080;

/// How long something may take to come about.
const PATIENCE: Duration = Duration::from_secs(15);

/// Everything that plays; removed in this order.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    /// Where connections come from.
    pub(super) client: Client,
    daemon: Option<Process>,
    servers: Vec<Option<Process>>,
    /// The network.
    pub(super) topology: Topology,
    /// Where it is shown.
    pub(super) screen: Screen,
    /// What ends it.
    pub(super) interrupt: &'a Interrupt,
    instance: Instance,
    binary: PathBuf,
}

/// A server, by its place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// `b1`.
    B1,
    /// `b2`.
    B2,
    /// `b3`.
    B3,
}

impl Backend {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::B1, Self::B2, Self::B3];

    /// Their names.
    pub(super) const NAMES: [&str; 3] = ["b1", "b2", "b3"];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::B1 => "b1",
            Self::B2 => "b2",
            Self::B3 => "b3",
        }
    }
}

impl<'a> Stage<'a> {
    /// Builds the network. Nothing runs in it yet.
    pub(super) fn new(claim: &Claim, screen: Screen, interrupt: &'a Interrupt) -> Result<Self> {
        // Clients on the link are reached by the kernel's own tables, which it lends to routers only.
        let options = Options {
            forward: true,
            ..Options::default()
        };
        let topology = Topology::two_armed(options)?;
        let client = &topology.client.namespace;
        // Closed connections hold their port for a minute; there are more of them than ports.
        client.sysctl("net/ipv4/ip_local_port_range", EPHEMERAL_PORTS)?;
        client.sysctl("net/ipv4/tcp_tw_reuse", "1")?;
        Ok(Self {
            client: Client::start(client)?,
            daemon: None,
            servers: Backend::ALL.map(|_| None).into(),
            topology,
            screen,
            interrupt,
            instance: claim.instance(),
            binary: env::current_exe().context("cannot tell where this program lies")?,
        })
    }

    /// The VIP with a port.
    pub(super) const fn vip(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.topology.vip.of(family), port)
    }

    /// Where a server listens.
    pub(super) fn address(&self, backend: Backend, family: Family) -> Result<SocketAddr> {
        let host = self.topology.backends.get(backend as usize);
        let host = host.with_context(|| format!("the network has no {}", backend.name()))?;
        Ok(SocketAddr::new(host.link.address.of(family), SERVER_PORT))
    }

    /// Writes the daemon's configuration.
    pub(super) fn configure(&self, yaml: &str) -> Result<()> {
        let path = self.config();
        fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The daemon's configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.instance.runtime().join("xlb.yaml")
    }

    fn log(&self) -> PathBuf {
        self.instance.runtime().join("xlb.log")
    }

    /// What one types before the commands that are shown, if anything.
    pub(super) fn alias(&self) -> Option<String> {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path)
            .map(|folder| folder.join("xlb"))
            .find_map(|file| file.canonicalize().ok());
        (found.as_ref() != Some(&self.binary))
            .then(|| format!("alias xlb={}", self.binary.display()))
    }

    /// Starts a server; probes find out when it answers.
    pub(super) fn start_server(&mut self, backend: Backend) -> Result<()> {
        let mut command = self.serve(backend)?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.screen.command(&self.background(&command))?;
        let process = Process::start(&mut command)?;
        if let Some(place) = self.servers.get_mut(backend as usize) {
            *place = Some(process);
        }
        Ok(())
    }

    fn serve(&self, backend: Backend) -> Result<Command> {
        let host = self.topology.backends.get(backend as usize);
        let host = host.with_context(|| format!("the network has no {}", backend.name()))?;
        let mut command = self.own(&host.namespace);
        command.args(["demo", "serve", backend.name()]);
        for family in Family::ALL {
            command.arg(self.address(backend, family)?.to_string());
        }
        Ok(command)
    }

    /// Kills a server; when.
    pub(super) fn kill_server(&mut self, backend: Backend) -> Result<Instant> {
        let server = self.servers.get_mut(backend as usize);
        kill(self.screen, server.and_then(Option::as_mut), backend.name())
    }

    /// Kills the daemon; when.
    pub(super) fn kill_daemon(&mut self) -> Result<Instant> {
        kill(self.screen, self.daemon.as_mut(), "the daemon")
    }

    /// Starts the daemon, and waits until all backends are up.
    pub(super) fn start_daemon(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.context("cannot write the log of the daemon")?;
        let mut command = self.own(&self.topology.balancer.namespace);
        command
            .args(["--instance", &self.instance.name, "--state-dir"])
            .arg(&self.instance.state_dir)
            .args(["run", "-c"])
            .arg(self.config())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.screen.command(&self.background(&command))?;
        self.daemon = Some(Process::start(&mut command)?);
        self.wait_for_daemon()
    }

    fn wait_for_daemon(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self
                .daemon
                .as_mut()
                .map(Process::ended)
                .transpose()?
                .flatten()
            {
                bail!("the daemon ended with {status}:\n{}", self.end_of_log());
            }
            match self.json::<Status>(&["status"]) {
                Ok(status) if status.healthy() => return Ok(()),
                Ok(_) if began.elapsed() < PATIENCE => self.interrupt.sleep(POLL)?,
                Ok(_) => bail!(
                    "not all backends are up after {PATIENCE:?}:\n{}",
                    self.end_of_log()
                ),
                Err(error) if began.elapsed() > PATIENCE => {
                    return Err(error.context(format!("its log ends:\n{}", self.end_of_log())));
                }
                Err(_) => self.interrupt.sleep(POLL)?,
            }
        }
    }

    fn end_of_log(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.len().saturating_sub(15);
        lines.get(last..).unwrap_or_default().join("\n")
    }

    /// Runs a verb of the command line, shows it, and returns what it prints.
    pub(super) fn xlb(&self, words: &[&str]) -> Result<String> {
        let mut command = self.verb(words);
        self.screen.command(&self.typed(&command))?;
        self.output(&mut command)
    }

    /// As [`Self::xlb`], and shows what it prints.
    pub(super) fn show(&self, words: &[&str]) -> Result<()> {
        self.screen.text(&self.xlb(words)?)
    }

    /// Runs a verb of the command line without showing it.
    fn quietly(&self, words: &[&str]) -> Result<String> {
        self.output(&mut self.verb(words))
    }

    /// Runs a verb of the command line for its JSON, without showing it.
    pub(super) fn json<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T> {
        let text = self.quietly(&[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("xlb {}: not as expected", words.join(" ")))
    }

    /// Runs this binary where the client is, shows the command, and returns what it prints.
    pub(super) fn at_client(&self, words: &[&str]) -> Result<String> {
        let mut command = self.own(&self.topology.client.namespace);
        command.args(words);
        self.screen.command(&self.typed(&command))?;
        self.output(&mut command)
    }

    /// Asks until it is so.
    pub(super) fn wait_until(
        &self,
        what: &str,
        is_so: impl Fn(&Self) -> Result<bool>,
    ) -> Result<Duration> {
        let began = Instant::now();
        while !is_so(self)? {
            if began.elapsed() > PATIENCE {
                bail!(
                    "{what}: not within {PATIENCE:?}; log of the daemon:\n{}",
                    self.end_of_log()
                );
            }
            self.interrupt.sleep(POLL)?;
        }
        Ok(began.elapsed())
    }

    fn verb(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        self.mark(&mut command);
        command
            .args(["--instance", &self.instance.name])
            .args(words);
        command
    }

    /// This binary inside a namespace.
    fn own(&self, namespace: &Namespace) -> Command {
        let mut command = namespace.command(&self.binary);
        self.mark(&mut command);
        command
    }

    fn mark(&self, command: &mut Command) {
        command.env(MARK, &self.instance.name).stdin(Stdio::null());
        if self.screen.paints() {
            command.env("CLICOLOR_FORCE", "1");
        }
    }

    /// Runs a command for its standard output, until it ends or a signal comes.
    fn output(&self, command: &mut Command) -> Result<String> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::start(command)?;
        let status = loop {
            match process.ended()? {
                Some(status) => break status,
                None => self.interrupt.sleep(POLL)?,
            }
        };
        let text = read(process.stdout())?;
        if status.success() {
            return Ok(text);
        }
        let said = read(process.stderr())?;
        Err(anyhow!("`{}` failed: {}", self.typed(command), said.trim()))
    }

    /// The command as one would type it.
    fn typed(&self, command: &Command) -> String {
        let own = self.binary.as_os_str();
        let name = |word: &OsStr| {
            let word = if word == own { OsStr::new("xlb") } else { word };
            quoted(&word.to_string_lossy())
        };
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words
            .filter(|word| *word != "--")
            .map(name)
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn background(&self, command: &Command) -> String {
        self.typed(command) + " &"
    }

    /// Leaves everything running, and says what can be done with it.
    pub(super) fn leave(self) -> Result<()> {
        // The programs at the far ends of the wires go with this process; with GRO those ends take
        // frames from XDP all the same.
        let uplink = &self.topology.client.link.interface;
        let ends = [
            (&self.topology.client.namespace, uplink.as_str()),
            (&self.topology.switch, "balancer"),
        ];
        for (namespace, interface) in ends {
            namespace.run(["ethtool", "-K", interface, "gro", "on"])?;
        }
        self.screen.title("it is left running; to try, as root:")?;
        self.suggest()?;
        // Guards would remove what is to stay.
        std::mem::forget(self);
        Ok(())
    }

    fn suggest(&self) -> Result<()> {
        let instance = &self.instance.name;
        let client = self.topology.client.namespace.path();
        let vip = self.vip(Family::V4, 80);
        let log = self.log();
        if let Some(alias) = self.alias() {
            self.screen.command(&alias)?;
        }
        for command in [
            format!("xlb --instance {instance} status"),
            format!("nsenter --net={} xlb demo load {vip}", client.display()),
            format!("xlb --instance {instance} backend weight web b1 3"),
            format!("xlb --instance {instance} backend list web"),
            format!("xlb --instance {instance} service show web"),
            format!("tail {}", log.display()),
            "xlb demo --down".to_owned(),
        ] {
            self.screen.command(&command)?;
        }
        Ok(())
    }
}

fn kill(screen: Screen, process: Option<&mut Process>, name: &str) -> Result<Instant> {
    let process = process.with_context(|| format!("{name} does not run"))?;
    screen.command(&format!("kill -KILL {}", process.id()))?;
    let when = Instant::now();
    process.kill()?;
    Ok(when)
}

fn read(stream: Option<impl Read>) -> Result<String> {
    let mut text = String::new();
    if let Some(mut stream) = stream {
        stream
            .read_to_string(&mut text)
            .context("cannot read what it printed")?;
    }
    Ok(text)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    if word.contains(['[', ' ', '*']) {
        return format!("'{word}'");
    }
    word.to_owned()
}
