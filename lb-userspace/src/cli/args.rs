//! Verbs and flags.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use ipnet::IpNet;
use lb_common::decap::GUE_PORT;

use crate::{
    api::types::{TcpFlag, WhyProtocol},
    config::{BackendAddress, model::MAX_WEIGHT},
    daemon::{Instance, instance::parse_name},
};

const DEFAULT_INSTANCE: &str = "default";
const DEFAULT_RUN_DIR: &str = "/run/xlb";
const DEFAULT_STATE_DIR: &str = "/var/lib/xlb";
const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/xlb";

/// A layer-4 load balancer in the network driver.
#[derive(Debug, Parser)]
#[command(name = "xlb", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Args {
    /// Flags of every verb.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  xlb demo                                see it balance, in namespaces of its own
  xlb check -c /etc/xlb/xlb.yaml          all mistakes of a file, each at its place
  xlb run -c /etc/xlb/xlb.yaml            the daemon
  xlb status                              the whole at a glance
  xlb backend drain web b1 --for 30m      take a backend out for half an hour
  xlb drain self                          take this balancer out of routing
  xlb backend list -o json | jq .items    for programs

Exit codes:
  0 done              3 configuration invalid    6 refused by a guard (--force)
  1 failed            4 daemon not reachable     7 --wait ran out
  2 usage             5 no such service/backend  8 attention (status --exit-code)";

/// Flags of every verb.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Which instance: a name for its folders.
    #[arg(long, global = true, value_name = "NAME", default_value = DEFAULT_INSTANCE, value_parser = parse_name)]
    pub instance: String,
    /// Where socket and lock are.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_RUN_DIR, value_hint = ValueHint::DirPath)]
    pub run_dir: PathBuf,
    /// Where revision and overrides are kept.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_STATE_DIR, value_hint = ValueHint::DirPath)]
    pub state_dir: PathBuf,
    /// Where programs, links and maps are pinned: on a bpffs.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_PIN_DIR, value_hint = ValueHint::DirPath)]
    pub pin_dir: PathBuf,
    /// When to use colour; `auto` heeds `NO_COLOR`.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// How to print.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,
}

impl Globals {
    /// The instance that is meant.
    #[must_use]
    pub fn instance(&self) -> Instance {
        Instance {
            name: self.instance.clone(),
            run_dir: self.run_dir.clone(),
            state_dir: self.state_dir.clone(),
            pin_dir: self.pin_dir.clone(),
        }
    }

    /// The flags that name this instance, without those at their default.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let dir = |dir: &PathBuf| dir.display().to_string();
        [
            ("--instance", self.instance.clone(), DEFAULT_INSTANCE),
            ("--run-dir", dir(&self.run_dir), DEFAULT_RUN_DIR),
            ("--state-dir", dir(&self.state_dir), DEFAULT_STATE_DIR),
            ("--pin-dir", dir(&self.pin_dir), DEFAULT_PIN_DIR),
        ]
        .into_iter()
        .filter(|(_, value, default)| value != default)
        .flat_map(|(flag, value, _)| [flag.to_owned(), super::format::quoted(&value)])
        .collect()
    }
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless the environment says no.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What is drained where it is no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Whole {
    /// The balancer.
    #[value(name = "self")]
    Itself,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon.
    Run(RunArgs),
    /// Find all mistakes of a configuration.
    Check {
        /// The configuration.
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        config: PathBuf,
    },
    /// Apply a configuration: all of it or, where it has a mistake, nothing.
    #[command(
        after_help = "Without -c the daemon reads the file it was started with.\n\nExamples:\n  xlb apply\n  xlb apply -c new.yaml"
    )]
    Apply {
        /// The configuration; the daemon's own file if not given.
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        config: Option<PathBuf>,
    },
    /// Show the whole at a glance.
    #[command(
        after_help = "Examples:\n  xlb status --wait 10s      until every service is up\n  xlb status --exit-code     8 if a service or a backend is down"
    )]
    Status {
        /// Exit with 8 if a service or backend does not take flows.
        #[arg(long)]
        exit_code: bool,
        /// Wait until every service is up; exit with 7 if that takes longer.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        wait: Option<Duration>,
    },
    /// Show services.
    Service {
        /// What to do; `list` if not given.
        #[command(subcommand)]
        verb: Option<ServiceVerb>,
    },
    /// Show and change backends.
    #[command(after_help = BACKEND_EXAMPLES)]
    Backend {
        /// What to do; `list` if not given.
        #[command(subcommand)]
        verb: Option<BackendVerb>,
    },
    /// Show what happened since the daemon started: states that changed, and why; changes by hand.
    #[command(
        after_help = "Examples:\n  xlb events\n  xlb events -f -o json     as it happens, a line each"
    )]
    Events {
        /// Go on until interrupted.
        #[arg(short, long)]
        follow: bool,
    },
    /// Ask what becomes of a packet, and why: the data path itself says so. Nothing is sent, counted or remembered.
    #[command(after_help = WHY_EXAMPLES)]
    Why(WhyArgs),
    /// Take this balancer out of routing: announce no VIP, and forward what still arrives.
    #[command(after_help = "Examples:\n  xlb drain self\n  xlb drain self --for 30m")]
    Drain {
        /// The balancer itself; for one backend there is `xlb backend drain`.
        what: Whole,
        /// How long.
        #[command(flatten)]
        lasts: Lasts,
    },
    /// Bring this balancer back into routing after `drain self`.
    Ready {
        /// The balancer itself; for one backend there is `xlb backend ready`.
        what: Whole,
    },
    /// On a backend: take packets out of tunnels (ipip, gue).
    #[command(after_help = DECAP_EXAMPLES)]
    Decap(DecapArgs),
    /// Take the data path down: links, programs and maps. A running daemon exits.
    Detach,
    /// See it balance: real connections in namespaces of its own.
    Demo(crate::demo::Args),
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  xlb completions bash > /etc/bash_completion.d/xlb")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

const WHY_EXAMPLES: &str = "\
Examples:
  xlb why tcp 198.51.100.7:40000 203.0.113.10:443
  xlb why tcp 10.0.0.11:8080 198.51.100.7:40000 --flags ack --interface eth1
  xlb why udp [2001:db8::7]:40000 [2001:db8:1::10]:53 -o json";

/// A packet.
#[derive(Debug, clap::Args)]
pub struct WhyArgs {
    /// What it is.
    pub protocol: WhyProtocol,
    /// Its sender, address and port.
    #[arg(value_name = "SOURCE")]
    pub source: SocketAddr,
    /// Its receiver, address and port.
    #[arg(value_name = "DESTINATION")]
    pub destination: SocketAddr,
    /// TCP flags.
    #[arg(long, value_name = "FLAG", num_args = 1.., value_delimiter = ',', default_value = "syn")]
    pub flags: Vec<TcpFlag>,
    /// The interface that it comes in by; the configuration's first one if not given.
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,
}

const BACKEND_EXAMPLES: &str = "\
BACKEND is a backend's name, its address:port, or its address where only one has it.
What is set by hand survives reload and restart until `backend reset` or the end of --for.

Examples:
  xlb backend list web
  xlb backend show web b1                 and its last probes
  xlb backend add web 10.0.0.14:8080 --name b4 --weight 2
  xlb backend drain web b1 --for 30m
  xlb backend weight web 10.0.0.12 5
  xlb backend reset web b1";

const SHOW_EXAMPLES: &str = "\
Examples:
  xlb service show web
  xlb service show web --backend-setup                        all backends, to read
  xlb service show web --backend-setup=b1 | ssh b1 sudo sh -e";

const DECAP_EXAMPLES: &str = "\
The program stays when the command ends; called again, an interface follows the new rules with no
packet lost. Call it again when the interface gets another MAC address.

Examples:
  xlb decap --interface eth0 --vip 203.0.113.10 --source 10.0.0.1
  xlb decap --interface eth0 --vip 203.0.113.10 2001:db8::10 --source 10.0.0.0/24 --gue-port 6080
  xlb decap --status -o json
  xlb decap --detach --interface eth0";

/// Flags of `decap`.
#[derive(Debug, clap::Args)]
pub struct DecapArgs {
    /// Where the balancer's packets come in; with --status or --detach all that there are if not given.
    #[arg(long, value_name = "IF", num_args = 1.., value_delimiter = ',', required_unless_present_any = ["status", "detach"])]
    pub interface: Vec<String>,
    /// Inner destinations that are taken; each must be an address of this host.
    #[arg(long, value_name = "ADDRESS", num_args = 1.., value_delimiter = ',', required_unless_present_any = ["status", "detach"])]
    pub vip: Vec<IpAddr>,
    /// Outer sources that may send: the balancers.
    #[arg(long, visible_aliases = ["from", "allow"], value_name = "PREFIX", num_args = 1.., value_delimiter = ',', value_parser = parse_prefix, required_unless_present_any = ["status", "detach"])]
    pub source: Vec<IpNet>,
    /// UDP port of GUE.
    #[arg(long, value_name = "PORT", default_value_t = GUE_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub gue_port: u16,
    /// How to attach.
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub xdp: Xdp,
    /// Accept a pin folder that vanishes with this process's mount namespace.
    #[arg(long)]
    pub ephemeral: bool,
    /// Print rules and counters.
    #[arg(long, conflicts_with_all = ["detach", "vip", "source"])]
    pub status: bool,
    /// Take the program off.
    #[arg(long, conflicts_with_all = ["vip", "source"])]
    pub detach: bool,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Xdp {
    /// Native, else generic with a warning.
    Auto,
    /// In the driver.
    Native,
    /// In the stack, on any interface, slower.
    Generic,
}

fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_not_an_address| text.parse())
        .map_err(|_neither| "expected an address or a prefix, as in 10.0.0.0/24".to_owned())
}

/// Flags of `run`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The data path stays when the daemon ends, and the next one takes it over; `xlb detach` removes it.\nSIGHUP reads the configuration again, as `xlb apply` does."
)]
pub struct RunArgs {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Where to serve metrics: ADDR:PORT (port 0: any) or `none`.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900", value_parser = parse_metrics)]
    pub metrics: Metrics,
    /// Accept a pin folder that vanishes with this process's mount namespace.
    #[arg(long)]
    pub ephemeral: bool,
    /// Start even where an interface is set up so that packets are lost.
    #[arg(long)]
    pub force: bool,
}

/// Where metrics are served; `None`: nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics(pub Option<SocketAddr>);

fn parse_metrics(text: &str) -> Result<Metrics, String> {
    if text == "none" {
        return Ok(Metrics(None));
    }
    match text.parse() {
        Ok(address) => Ok(Metrics(Some(address))),
        Err(_) => Err("expected ADDR:PORT, as in 127.0.0.1:9900, or `none`".to_owned()),
    }
}

/// What to do with services.
#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// List services.
    List,
    /// Show one service and its backends.
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The service's name.
        service: String,
        /// Print what backends need for their modes: commands for a shell on each, or on the one that
        /// is named.
        #[arg(long, value_name = "BACKEND", num_args = 0..=1, require_equals = true)]
        backend_setup: Option<Option<String>>,
    },
}

/// What to do with backends.
#[derive(Debug, Subcommand)]
pub enum BackendVerb {
    /// List backends.
    List {
        /// Only those of this service.
        service: Option<String>,
    },
    /// Show one backend, and its last probes with their times.
    Show {
        /// Which one.
        #[command(flatten)]
        target: Target,
    },
    /// Add a backend.
    Add {
        /// The service's name.
        service: String,
        /// Where it listens.
        #[arg(value_name = "ADDR:PORT", value_parser = parse_address)]
        address: String,
        /// What to call it; its address if not given.
        #[arg(long)]
        name: Option<String>,
        /// Its weight.
        #[arg(long, default_value_t = 1, value_parser = weight())]
        weight: u16,
        /// Undo it after this time.
        #[command(flatten)]
        lasts: Lasts,
    },
    /// Take a backend out for good.
    Remove {
        /// Which one.
        #[command(flatten)]
        target: Target,
        /// Cut its flows: do not wait for them to end.
        #[arg(long)]
        now: bool,
        /// How long, and whether against the guard.
        #[command(flatten)]
        lasts: Lasts,
        /// Overrides the guard.
        #[command(flatten)]
        force: Force,
    },
    /// Give a backend no flows; it is still probed.
    Drain {
        /// Which one.
        #[command(flatten)]
        target: Target,
        /// Wait until its flows have ended; exit with 7 if that takes longer.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        wait: Option<Duration>,
        /// When the wait is over, cut what is left (as `maint` does).
        #[arg(long, requires = "wait")]
        deadline: bool,
        /// How long.
        #[command(flatten)]
        lasts: Lasts,
        /// Overrides the guard.
        #[command(flatten)]
        force: Force,
    },
    /// Give a backend flows again after drain or maint.
    Ready {
        /// Which one.
        #[command(flatten)]
        target: Target,
    },
    /// Give a backend no flows and do not probe it.
    Maint {
        /// Which one.
        #[command(flatten)]
        target: Target,
        /// How long.
        #[command(flatten)]
        lasts: Lasts,
        /// Overrides the guard.
        #[command(flatten)]
        force: Force,
    },
    /// Forget what was set by hand: the file counts again.
    Reset {
        /// Which one.
        #[command(flatten)]
        target: Target,
        /// Overrides the guard.
        #[command(flatten)]
        force: Force,
    },
    /// Set a backend's weight.
    Weight {
        /// Which one.
        #[command(flatten)]
        target: Target,
        /// 0 to 1000; 0 takes no flows.
        #[arg(value_parser = weight())]
        weight: u16,
        /// How long.
        #[command(flatten)]
        lasts: Lasts,
        /// Overrides the guard.
        #[command(flatten)]
        force: Force,
    },
}

/// Which backend.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The service's name.
    pub service: String,
    /// Name, address:port, or address if unique.
    pub backend: String,
}

/// How long a change lasts.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Lasts {
    /// Undo it after this time, as in 30m or 2h.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub lasts: Option<Duration>,
}

/// Whether a guard is overridden.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Force {
    /// Do it even if it leaves the service without a backend.
    #[arg(long)]
    pub force: bool,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a duration, as in 30s, 15m or 2h"))?;
    if duration < Duration::from_secs(1) {
        return Err("expected at least 1s".to_owned());
    }
    Ok(duration)
}

fn parse_address(text: &str) -> Result<String, String> {
    match BackendAddress::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; {}", error.hint())),
    }
}

fn weight() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..=i64::from(MAX_WEIGHT))
}
