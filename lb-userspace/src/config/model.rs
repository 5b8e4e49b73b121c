//! What a configuration means. Only valid ones exist: they are made by [`super::parse`].

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use serde::Serialize;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Interfaces that the program is attached to; names are unique; at least one.
    pub interfaces: Vec<Interface>,
    /// What the slot tables and the flow hash are seeded with; without it the seed is random.
    pub hash_seed: Option<String>,
    /// Prefixes that backends reach without translation.
    pub direct: Vec<IpNet>,
    /// Services; names and VIPs are unique.
    pub services: Vec<Service>,
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
    /// How packets reach backends.
    pub mode: Mode,
    /// Slots of its table, a power of two, where the file says so; see [`Service::slots`].
    pub slots: Option<u32>,
    /// How backends are probed; `None`: not at all, they count as up.
    pub probe: Option<Probe>,
    /// Backends, of the VIP's address family; names and addresses are unique within the service.
    pub backends: Vec<Backend>,
}

/// How packets reach backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Destination address and port are rewritten; replies come back through xlb.
    Nat,
}

/// Address, port and protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip {
    /// Virtual address.
    pub address: IpAddr,
    /// Port, 1 to 65535.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}",
            SocketAddr::new(self.address, self.port),
            self.protocol
        )
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
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of the slots is `weight / sum of weights`; 0 to [`MAX_WEIGHT`], 0 takes no flows.
    pub weight: u16,
}

/// The largest weight.
pub const MAX_WEIGHT: u16 = 1000;

/// How the backends of a service are probed: TCP connects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Probe {
    /// Port to connect to; the backend's own if `None`.
    pub port: Option<u16>,
    /// From the beginning of one probe to that of the next.
    pub interval: Duration,
    /// How long one probe may take; at most `interval`.
    pub timeout: Duration,
    /// Good probes in a row until a backend counts as up; at least 1.
    pub rise: u32,
    /// Failed probes in a row until it counts as down; at least 1.
    pub fall: u32,
}

impl Service {
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
