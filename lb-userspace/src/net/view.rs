//! What the kernel says of its network at one moment, and how a packet would leave.
//!
//! Pure data. Holds the unicast side of the main table; rules and other tables are the FIB helper's.

use std::{cmp::Reverse, collections::BTreeMap, fmt, iter, net::IpAddr};

use ipnet::IpNet;

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

/// The host's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Links by index.
    pub links: BTreeMap<u32, Link>,
    /// The host's own addresses with their prefix length.
    pub addresses: Vec<Address>,
    /// Routes of the main table, in the kernel's order.
    pub routes: Vec<Route>,
    /// Neighbours by link and address.
    pub neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; `None` where it is no Ethernet.
    pub mac: Option<Mac>,
    /// Bytes of the largest packet without Ethernet header.
    pub mtu: u32,
    /// Whether it is set up and has carrier.
    pub up: bool,
    /// The kernel's word for what it is, `veth` for one; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Index of the other end of a veth pair, or of the link that a VLAN lies on; `None` if that lives
    /// in another namespace.
    pub peer: Option<u32>,
    /// Whether an XDP program is attached, whoever did it.
    pub has_xdp: bool,
}

impl Link {
    /// Whether it is an end of a veth pair.
    #[must_use]
    pub fn is_veth(&self) -> bool {
        self.kind.as_deref() == Some("veth")
    }

    /// Whether it is a VLAN of another link.
    #[must_use]
    pub fn is_vlan(&self) -> bool {
        self.kind.as_deref() == Some("vlan")
    }
}

/// One of the host's own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The link that bears it.
    pub ifindex: u32,
    /// The address, host bits set, with its prefix length.
    pub net: IpNet,
}

/// A route. A route with several next hops is as many of these, equal in prefix and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to, host bits zero.
    pub prefix: IpNet,
    /// The smaller one wins.
    pub metric: u32,
    /// How.
    pub hop: Hop,
}

/// How packets of a [`Route`] leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Through a router, which may be of the other family.
    Gateway {
        /// The router.
        address: IpAddr,
        /// The link it is on.
        ifindex: u32,
    },
    /// Only the kernel can tell: refused, or through a lightweight tunnel.
    Kernel,
    /// To a neighbour.
    OnLink {
        /// The link it is on.
        ifindex: u32,
    },
}

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Set by the operator (`PERMANENT`) or needing no look-up (`NOARP`).
    Fixed(Mac),
    /// Looked up: `REACHABLE`, `STALE`, `DELAY` or `PROBE`.
    Resolved(Mac),
    /// `INCOMPLETE`, `FAILED` or not yet asked for.
    Unresolved,
}

impl Neighbour {
    /// Its address, if packets may be sent to it.
    #[must_use]
    pub const fn mac(self) -> Option<Mac> {
        match self {
            Self::Fixed(mac) | Self::Resolved(mac) => Some(mac),
            Self::Unresolved => None,
        }
    }
}

/// All that a frame needs to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The link it leaves by.
    pub ifindex: u32,
    /// That link's address.
    pub source_mac: Mac,
    /// The neighbour's address.
    pub destination_mac: Mac,
    /// Whether that neighbour is the destination itself, not a router.
    pub on_link: bool,
}

/// How a packet to some address would leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It would not: the address is this host's.
    Local,
    /// By a neighbour that is known.
    NextHop(NextHop),
    /// Not at all, or not as an Ethernet frame.
    NoRoute,
    /// By a neighbour whose MAC address is not known (yet).
    Unresolved {
        /// The link it is on.
        ifindex: u32,
        /// The neighbour: the destination itself or a router.
        via: IpAddr,
    },
}

impl View {
    /// The link of this name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// Whether the address is one of the host's own.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.iter().any(|own| own.net.addr() == address)
    }

    /// How a packet to `destination` would leave: longest prefix, then lowest metric, of the routes
    /// whose link is up. Of several equal next hops the first that is resolved.
    #[must_use]
    pub fn resolve(&self, destination: IpAddr) -> Resolution {
        if self.is_local(destination) {
            return Resolution::Local;
        }
        let mut ways = self
            .best_hops(destination)
            .map(|hop| self.resolve_hop(hop, destination));
        let first = ways.next().unwrap_or(Resolution::NoRoute);
        let is_known = |way: &Resolution| matches!(way, Resolution::NextHop(_));
        iter::once(first)
            .chain(ways)
            .find(is_known)
            .unwrap_or(first)
    }

    /// The neighbours that packets to `destination` may leave by, as (link, address).
    pub fn neighbours_towards(&self, destination: IpAddr) -> impl Iterator<Item = (u32, IpAddr)> {
        let hops = (!self.is_local(destination)).then(|| self.best_hops(destination));
        hops.into_iter().flatten().filter_map(move |hop| match hop {
            Hop::Gateway { address, ifindex } => Some((ifindex, address)),
            Hop::OnLink { ifindex } => Some((ifindex, destination)),
            Hop::Kernel => None,
        })
    }

    /// The routers of all routes whose link is up, as (link, address): clients may be behind each.
    pub fn gateways(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        let usable = self.routes.iter().filter(|route| self.is_usable(route.hop));
        usable.filter_map(|route| match route.hop {
            Hop::Gateway { address, ifindex } => Some((ifindex, address)),
            Hop::OnLink { .. } | Hop::Kernel => None,
        })
    }

    fn best_hops(&self, destination: IpAddr) -> impl Iterator<Item = Hop> {
        let matching = self
            .routes
            .iter()
            .filter(move |route| route.prefix.contains(&destination) && self.is_usable(route.hop));
        let rank = |route: &Route| (route.prefix.prefix_len(), Reverse(route.metric));
        let best = matching.clone().map(rank).max();
        matching
            .filter(move |route| Some(rank(route)) == best)
            .map(|route| route.hop)
    }

    /// How a packet to `destination` leaves by `hop`.
    pub(super) fn resolve_hop(&self, hop: Hop, destination: IpAddr) -> Resolution {
        let (ifindex, via, on_link) = match hop {
            Hop::Gateway { address, ifindex } => (ifindex, address, false),
            Hop::OnLink { ifindex } => (ifindex, destination, true),
            Hop::Kernel => return Resolution::NoRoute,
        };
        let Some(source_mac) = self.links.get(&ifindex).and_then(|link| link.mac) else {
            return Resolution::NoRoute;
        };
        match self.neighbour_mac(ifindex, via) {
            Some(destination_mac) => Resolution::NextHop(NextHop {
                ifindex,
                source_mac,
                destination_mac,
                on_link,
            }),
            None => Resolution::Unresolved { ifindex, via },
        }
    }

    /// Whether the link that `hop` leaves by is up.
    pub(super) fn is_usable(&self, hop: Hop) -> bool {
        match hop {
            Hop::Gateway { ifindex, .. } | Hop::OnLink { ifindex } => {
                self.links.get(&ifindex).is_some_and(|link| link.up)
            }
            Hop::Kernel => true,
        }
    }

    fn neighbour_mac(&self, ifindex: u32, address: IpAddr) -> Option<Mac> {
        self.neighbours.get(&(ifindex, address))?.mac()
    }
}

#[cfg(test)]
pub(super) mod tests;
