//! What a configuration means. Only valid ones exist: they are made by [`super::parse`].

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use serde::Serialize;

pub use super::{
    check::{Check, Dns, Exec, Expression, Grpc, Http, Pattern, Talk, Tls, Word},
    ports::{PortRange, Ports},
    receiver::{Receiver, Way, Webhook},
};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Interfaces that the program is attached to; names are unique; at least one.
    pub interfaces: Vec<Interface>,
    /// What the slot tables and the flow hash are seeded with; without it the seed is random.
    pub hash_seed: Option<String>,
    /// Prefixes that backends reach without translation.
    pub direct: Vec<IpNet>,
    /// What is done with ICMP for VIPs.
    pub icmp: Icmp,
    /// How VIPs are made known to routing software; `None`: not at all.
    pub announce: Option<Announce>,
    /// The other balancers with this configuration, if there are any; then there is a `hash_seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Peers>,
    /// Where probes by way of a VIP come from.
    pub via_vip: ViaVip,
    /// Who is told what happens; names are unique.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Receiver>,
    /// Services; names and VIPs are unique, and ranges of ports on one address do not overlap.
    pub services: Vec<Service>,
}

/// Where probes by way of a VIP come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ViaVip {
    /// Ports, each of which names a backend. Nothing else on this host has any of them.
    pub ports: PortRange,
    /// Addresses of this host, the first of a family counts; none: the one that the host takes towards the backend.
    pub sources: Vec<IpAddr>,
}

impl Default for ViaVip {
    /// Above the ports that Linux gives to its own connections.
    fn default() -> Self {
        Self {
            ports: PortRange {
                first: 61_000,
                last: u16::MAX,
            },
            sources: Vec::new(),
        }
    }
}

/// Whether a backend is probed by way of the VIP as well, as clients reach it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// It is not.
    #[default]
    Off,
    /// It is, and nothing follows from it.
    Watch,
    /// It is, and takes no flows where it fails.
    Eject,
}

/// Balancers that tell each other of their flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peers {
    /// Where this balancer listens for the others, and where its own calls come from.
    pub listen: SocketAddr,
    /// The file with the key that all of them share.
    pub key_file: PathBuf,
    /// Where the others listen; without `listen`, which the file may name among them.
    pub others: Vec<SocketAddr>,
}

/// What is done with ICMP for VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Icmp {
    /// What is done with echo requests.
    pub echo: Echo,
    /// Messages that each CPU may make in a second; 0: none.
    pub rate: u32,
}

impl Default for Icmp {
    /// The rate is what Linux allows itself (`icmp_msgs_per_sec`).
    fn default() -> Self {
        Self {
            echo: Echo::Answer,
            rate: 1000,
        }
    }
}

/// What is done with an echo request for a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Echo {
    /// The data path answers it.
    Answer,
    /// The kernel gets it.
    Pass,
}

/// How VIPs are made known to routing software: as routes to them in a table of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Announce {
    /// The table's number; none of those that the host's own packets go by.
    pub table: u32,
    /// What marks the routes as xlb's (`rtm_protocol` in rtnetlink(7)).
    pub protocol: u8,
    /// Their metric: a hint for routing software, lower is better.
    pub metric: u32,
    /// Which services of an address must have a backend.
    pub require: Require,
}

impl Default for Announce {
    fn default() -> Self {
        Self {
            table: 77,
            protocol: 200,
            metric: 100,
            require: Require::All,
        }
    }
}

/// Which services of an address must have a backend for the address to be announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Each of them.
    All,
    /// One of them.
    Any,
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// How the program is attached.
    pub xdp: XdpMode,
    /// Who may be behind it.
    pub role: Role,
}

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Native, else generic with a warning.
    Auto,
    /// In the driver.
    Native,
    /// In the stack, on any interface, slower.
    Generic,
}

/// Who may be behind an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Clients and backends.
    Both,
    /// Clients: packets that claim to come from a backend are forged.
    Client,
    /// Backends (and clients): replies are translated.
    Backend,
}

/// A service: one VIP and its backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where clients find it.
    pub vip: Vip,
    /// How packets reach backends that do not say otherwise.
    pub mode: Mode,
    /// Slots of its table, a power of two, where the file says so; see [`Service::slots`].
    pub slots: Option<u32>,
    /// How backends are probed; `None`: not at all, they count as up. On several ports it has a port.
    pub probe: Option<Probe>,
    /// How tunnels are built.
    pub tunnel: Tunnel,
    /// What flows get in mode `full-nat`.
    pub full_nat: FullNat,
    /// The largest TCP segment that a SYN may announce, in bytes; `None`: any.
    pub mss: Option<u16>,
    /// How long a flow may be silent and still stays where it is when backends change.
    pub idle: Duration,
    /// How long flows of a backend that is to get no new ones stay there at most.
    pub drain_deadline: Duration,
    /// What becomes of the flows of a backend that is down.
    pub on_down: OnDown,
    /// Whether datagrams are QUIC's, which say what opens a connection.
    pub quic: bool,
    /// Whether a client stays with its backend, whatever its ports.
    pub affinity: Option<Affinity>,
    /// Whether it has a say in whether its address is announced.
    pub announce: bool,
    /// What failing probes may do to it.
    pub guards: Guards,
    /// How its backends come back.
    pub recovery: Recovery,
    /// What becomes of backends of which packets show that something is wrong.
    #[serde(skip_serializing_if = "is_default")]
    pub passive: Passive,
    /// Backends; names and addresses are unique within the service. Of the VIP's address family,
    /// but in tunnels.
    pub backends: Vec<Backend>,
}

/// How backends come back that were down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// How long the share of one grows that comes back; `None`: it has all at once.
    pub slow_start: Option<Duration>,
    /// When one that falls again and again is kept out; `None`: never.
    pub damping: Option<Damping>,
}

/// When a backend that falls again and again is kept out, and for how long. Each fall adds 1,000 to a penalty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Damping {
    /// In this time the penalty loses half of itself.
    pub half_life: Duration,
    /// From here on the backend is kept out.
    pub suppress: u32,
    /// Below this it is taken back; at most `suppress`.
    pub reuse: u32,
    /// The longest that it is kept out after its last fall; long enough for penalties to reach `suppress`.
    pub max: Duration,
}

impl Damping {
    /// The largest penalty: from here it takes the longest time down to `reuse`.
    #[must_use]
    pub fn ceiling(&self) -> f64 {
        let half_lives = self.max.as_secs_f64() / self.half_life.as_secs_f64();
        f64::from(self.reuse) * half_lives.exp2()
    }
}

/// What becomes of backends of which clients' packets show that something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Passive {
    /// What is done.
    pub act: PassiveAct,
    /// Hundredths of a backend's connections that suffer, from which on it is suspected.
    pub failing: u32,
    /// Connections of the last seconds that it takes to say so.
    pub least: u32,
    /// How long one that is to go gets no new flows, the first time.
    pub eject_for: Duration,
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            act: PassiveAct::Off,
            failing: 50,
            least: 20,
            eject_for: Duration::from_secs(30),
        }
    }
}

/// What is done about backends that are suspected; each does what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassiveAct {
    /// Nothing is counted.
    #[default]
    Off,
    /// It is told.
    Watch,
    /// They are probed at once.
    Probe,
    /// They get no new flows for a time.
    Eject,
}

/// What failing probes may do to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Guards {
    /// The most backends that they may take out at a time; `None`: all.
    pub max_ejected: Option<Share>,
    /// Backends without which it is as if there were none; at least 1.
    pub min_up: u32,
    /// How many more have to be there until it is served again.
    pub hysteresis: u32,
    /// What becomes of it then.
    pub when_empty: WhenEmpty,
    /// With how many backends of its first tier backups take flows, too.
    #[serde(skip_serializing_if = "is_default")]
    pub backup_below: Threshold,
}

impl Guards {
    /// The most of so many backends that may be out at a time.
    #[must_use]
    pub fn most_out(&self, all: usize) -> usize {
        self.max_ejected.map_or(all, |share| share.of(all))
    }
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            max_ejected: None,
            min_up: 1,
            hysteresis: 0,
            when_empty: WhenEmpty::default(),
            backup_below: Threshold::default(),
        }
    }
}

/// A number that is not to be fallen below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Threshold {
    /// The number.
    pub below: Share,
    /// How many more it takes until it counts as reached again.
    pub hysteresis: u32,
}

impl Default for Threshold {
    fn default() -> Self {
        Self {
            below: Share::Count(1),
            hysteresis: 0,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What becomes of a service that has too few backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenEmpty {
    /// Its packets are dropped, and its address is not announced.
    #[default]
    Withdraw,
    /// Its packets are dropped.
    Drop,
    /// Its clients are told: they get an RST, or port unreachable.
    Reset,
    /// All of its backends are used, whatever probes say.
    FailOpen,
}

/// So many of a service's backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// 1 to 100.
    Percent(u32),
    /// At least 1.
    Count(u32),
}

impl Share {
    /// Of so many; at least one.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        let share = match self {
            Self::Percent(percent) => all.saturating_mul(percent as usize) / 100,
            Self::Count(count) => count as usize,
        };
        share.max(1)
    }

    /// The least number that is no smaller a part of so many; at least one.
    #[must_use]
    pub fn least(self, all: usize) -> usize {
        match self {
            Self::Percent(percent) => all.saturating_mul(percent as usize).div_ceil(100).max(1),
            Self::Count(_) => self.of(all),
        }
    }
}

/// A client's flows go to one backend, by the address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Affinity {
    /// How long a client may be silent and still goes where it went when backends change.
    pub timeout: Duration,
    /// Bits of an IPv4 client's address that count, 1 to 32.
    pub prefix_v4: u8,
    /// Bits of an IPv6 client's address that count, 1 to 128.
    pub prefix_v6: u8,
}

impl Affinity {
    /// Bits that count of the clients of a VIP.
    #[must_use]
    pub const fn bits(self, vip: IpAddr) -> u8 {
        if vip.is_ipv6() {
            self.prefix_v6
        } else {
            self.prefix_v4
        }
    }
}

/// What becomes of the flows of a backend that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDown {
    /// They go to others, which know nothing of them: clients begin anew soon.
    Rehash,
    /// They end: over TCP clients are told with their next packet.
    Reset,
    /// They stay, as in a drain.
    Keep,
}

/// How packets reach backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Destination address and port are rewritten; replies come back through xlb.
    Nat,
    /// The source, too, so that replies come back by themselves.
    FullNat,
    /// Only the MAC addresses are; backends answer clients directly.
    L2Dsr,
    /// In an IP packet; backends answer clients directly.
    Ipip,
    /// In UDP (Generic UDP Encapsulation, variant 1); backends answer clients directly.
    Gue,
}

impl Mode {
    /// The word in configuration and lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::FullNat => "full-nat",
            Self::L2Dsr => "l2-dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
        }
    }

    /// Whether address and port of the destination change on the way.
    #[must_use]
    pub const fn is_nat(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }

    /// Whether packets travel in others, which may be of another address family.
    #[must_use]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }
}

/// How tunnels are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tunnel {
    /// Where outer headers of its family come from; at most 16 bits behind the prefix, which vary
    /// with the flow. `None`, and for the other family: an address of the host.
    pub source: Option<IpNet>,
    /// UDP port of `gue`.
    pub port: u16,
    /// Whether `gue` names the other backend that may have a connection as its slot changes hands: backends hand
    /// it what they do not know.
    pub second_chance: bool,
}

impl Default for Tunnel {
    /// The port is that of the IANA registry (`gue`).
    fn default() -> Self {
        Self {
            source: None,
            port: 6080,
            second_chance: false,
        }
    }
}

/// What flows get in mode `full-nat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FullNat {
    /// Their source addresses; none: an address of the host.
    pub sources: Vec<IpAddr>,
    /// Their source ports.
    pub ports: PortRange,
}

impl Default for FullNat {
    /// Below the ports that Linux gives to its own connections.
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            ports: PortRange {
                first: 10_000,
                last: 32_767,
            },
        }
    }
}

/// Address, ports and protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip {
    /// Virtual address.
    pub address: IpAddr,
    /// One port, a range, or all.
    pub ports: Ports,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            ports,
            protocol,
        } = self;
        write!(f, "{}:{ports}/{protocol}", Bracketed(*address))
    }
}

/// An address before a colon (RFC 3986, §3.2.2).
struct Bracketed(IpAddr);

impl fmt::Display for Bracketed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => write!(f, "[{v6}]"),
        }
    }
}

impl Vip {
    /// How the address of a backend of such a service is written: with its port or range, or alone
    /// where packets keep their port.
    #[must_use]
    pub fn backend(&self, address: SocketAddr) -> String {
        let ip = Bracketed(address.ip());
        match self.ports.moved_to(address.port()) {
            Ports::All => ip.to_string(),
            ports => format!("{ip}:{ports}"),
        }
    }
}

impl Serialize for Vip {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Protocol {
    /// Its number in IP headers.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A server behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// Its name; the address as written where the file gives none.
    pub name: String,
    /// Where it listens; the first port of several, and 0 where it listens on all.
    pub address: SocketAddr,
    /// How packets reach it.
    pub mode: Mode,
    /// Its share of the slots is `weight / sum of weights`; 0 to [`MAX_WEIGHT`], 0 takes no flows.
    pub weight: u16,
    /// It takes flows only while those of lower tiers are too few.
    #[serde(skip_serializing_if = "is_default")]
    pub tier: u8,
}

/// The largest weight.
pub const MAX_WEIGHT: u16 = 1000;

/// How the backends of a service are probed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Probe {
    /// What is asked.
    #[serde(flatten)]
    pub check: Arc<Check>,
    /// The port that is asked; the backend's own if `None`.
    pub port: Option<u16>,
    /// From the beginning of one probe to that of the next.
    pub interval: Duration,
    /// The same while it is in doubt: nothing is known of a backend, or it is about to rise or to fall.
    pub fast_interval: Duration,
    /// The same of a backend that is down; it doubles with each failed probe.
    pub down_interval: Duration,
    /// As long as that gets; at least `down_interval`.
    pub max_interval: Duration,
    /// How long one probe may take; at most `interval`.
    pub timeout: Duration,
    /// Good probes in a row until a backend counts as up; at least 1.
    pub rise: u32,
    /// Failed probes in a row until it counts as down; at least 1.
    pub fall: u32,
    /// Whether the way by the VIP is probed as well.
    pub via_vip: Path,
    /// What a backend counts as before its first probe has ended.
    pub start: Start,
    /// Whether a backend says how much of its weight it is good for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

/// A backend says how much of its weight it is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Feedback {
    /// Where.
    #[serde(flatten)]
    pub adviser: Adviser,
    /// What is done about it.
    pub mode: FeedbackMode,
}

/// Where a backend says so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Adviser {
    /// In this header of the answer to an HTTP probe; its name in lower case.
    Header(String),
    /// In the line that this TCP port says.
    Agent(u16),
}

/// What is done about what a backend says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedbackMode {
    /// It is shown.
    #[default]
    Observe,
    /// It is done.
    Apply,
}

/// What a backend counts as of which nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// It takes no flows until a probe has found it good.
    #[default]
    Down,
    /// It takes flows until probes have failed as often as they must.
    Up,
}

impl Service {
    /// Whether clients' packets are looked at: those of TCP show something.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.passive.act != PassiveAct::Off && self.vip.protocol == Protocol::Tcp
    }

    /// Slots of its table: what the file says, else by the number of backends.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.slots
            .unwrap_or_else(|| Self::default_slots(self.backends.len()))
    }

    /// Slots of the table of a service whose size the file does not give: about a hundred for each
    /// backend, so that shares are within 1 %.
    #[must_use]
    pub const fn default_slots(backends: usize) -> u32 {
        match backends {
            0..=40 => 1 << 12,
            41..=650 => 1 << 16,
            _ => 1 << 18,
        }
    }
}
