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
    /// The longest packet that it takes, in bytes, where it says so (`mtu` of `ip route`).
    pub mtu: Option<u32>,
    /// Where this host's own packets come from that leave by it, where it says so (`src` of
    /// `ip route`).
    pub source: Option<IpAddr>,
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

impl Hop {
    /// The link that packets leave by.
    #[must_use]
    pub const fn ifindex(self) -> Option<u32> {
        match self {
            Self::Gateway { ifindex, .. } | Self::OnLink { ifindex } => Some(ifindex),
            Self::Kernel => None,
        }
    }
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

/// A [`Resolution`], and what else a packet that this host sends there must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// How it would leave.
    pub resolution: Resolution,
    /// Bytes of the longest IP packet that leaves there; `None` where that cannot be told.
    pub mtu: Option<u32>,
    /// The address of this host that it would come from.
    pub source: Option<IpAddr>,
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
        let best = self.best_route(destination);
        best.map_or(Resolution::NoRoute, |(_, resolution)| resolution)
    }

    /// The same, with what a packet of this host's own must know.
    #[must_use]
    pub fn way(&self, destination: IpAddr) -> Way {
        let best = (!self.is_local(destination)).then(|| self.best_route(destination));
        match best {
            None => Way::nowhere(Resolution::Local),
            Some(None) => Way::nowhere(Resolution::NoRoute),
            Some(Some((route, resolution))) => Way {
                resolution,
                mtu: self.mtu(route),
                source: self.source(route, destination),
            },
        }
    }

    /// The link by which a packet to `destination` would leave, and whether by a default route.
    #[must_use]
    pub fn link_towards(&self, destination: IpAddr) -> Option<(u32, bool)> {
        let route = self.best_routes_to(destination).next()?;
        Some((route.hop.ifindex()?, route.prefix.prefix_len() == 0))
    }

    /// The route that decides, and what it comes to.
    fn best_route(&self, destination: IpAddr) -> Option<(&Route, Resolution)> {
        let mut ways = self
            .best_routes_to(destination)
            .map(|route| (route, self.resolve_hop(route.hop, destination)));
        let first = ways.next()?;
        let is_known = |(_, way): &(&Route, Resolution)| matches!(way, Resolution::NextHop(_));
        iter::once(first).chain(ways).find(is_known).or(Some(first))
    }

    /// The link's, or the route's own where that is smaller.
    fn mtu(&self, route: &Route) -> Option<u32> {
        let link = self.links.get(&route.hop.ifindex()?)?.mtu;
        Some(route.mtu.map_or(link, |mtu| mtu.min(link)))
    }

    /// What the route says, else an address on its link, one of the neighbour's network first, else
    /// any other: much as `inet_select_addr` in the kernel's `net/ipv4/devinet.c` does.
    fn source(&self, route: &Route, destination: IpAddr) -> Option<IpAddr> {
        let fits = |address: &IpAddr| {
            address.is_ipv4() == destination.is_ipv4() && !is_of_one_link(*address)
        };
        let ifindex = route.hop.ifindex()?;
        let via = match route.hop {
            Hop::Gateway { address, .. } => address,
            Hop::OnLink { .. } | Hop::Kernel => destination,
        };
        let rank = |own: &Address| match own.ifindex == ifindex {
            true if own.net.contains(&via) => 0,
            true => 1,
            false => 2,
        };
        let own = self.addresses.iter().filter(|own| fits(&own.net.addr()));
        let best = own.min_by_key(|own| rank(own)).map(|own| own.net.addr());
        route.source.filter(fits).or(best)
    }

    /// The neighbours that packets to `destination` may leave by, as (link, address).
    pub fn neighbours_towards(&self, destination: IpAddr) -> impl Iterator<Item = (u32, IpAddr)> {
        let routes = (!self.is_local(destination)).then(|| self.best_routes_to(destination));
        let hops = routes.into_iter().flatten().map(|route| route.hop);
        hops.filter_map(move |hop| match hop {
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

    fn best_routes_to(&self, destination: IpAddr) -> impl Iterator<Item = &Route> {
        let matching = self
            .routes
            .iter()
            .filter(move |route| route.prefix.contains(&destination) && self.is_usable(route.hop));
        let rank = |route: &Route| (route.prefix.prefix_len(), Reverse(route.metric));
        let best = matching.clone().map(rank).max();
        matching.filter(move |route| Some(rank(route)) == best)
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
        hop.ifindex()
            .is_none_or(|ifindex| self.links.get(&ifindex).is_some_and(|link| link.up))
    }

    fn neighbour_mac(&self, ifindex: u32, address: IpAddr) -> Option<Mac> {
        self.neighbours.get(&(ifindex, address))?.mac()
    }
}

impl Way {
    const fn nowhere(resolution: Resolution) -> Self {
        Self {
            resolution,
            mtu: None,
            source: None,
        }
    }
}

/// Whether an address means nothing behind its own link.
const fn is_of_one_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
pub(super) mod tests;
