//! rtnetlink's messages → [`super::view`]'s types. What a [`View`](super::View) does not hold becomes
//! `None` or nothing.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{
        InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
        XdpAttached,
    },
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
        RouteScope, RouteType, RouteVia,
    },
};

use super::announce::{Mark, Marked};
use super::view::{Address, Hop, Link, Mac, Neighbour, Route};

pub(super) fn link(message: &LinkMessage) -> Link {
    let header = &message.header;
    let is_ethernet = header.link_layer_type == LinkLayerType::Ether;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        kind: None,
        peer: None,
        has_xdp: false,
    };
    let mut other_end = None;
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if is_ethernet => link.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(info) => link.kind = kind(info),
            LinkAttribute::Xdp(xdp) => link.has_xdp = has_program(xdp),
            LinkAttribute::Link(index) => other_end = Some(*index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            _ => {}
        }
    }
    link.peer = other_end.filter(|_| (link.is_veth() || link.is_vlan()) && !elsewhere);
    link
}

fn kind(info: &[LinkInfo]) -> Option<String> {
    info.iter().find_map(|info| match info {
        LinkInfo::Kind(InfoKind::Veth) => Some("veth".to_owned()),
        LinkInfo::Kind(InfoKind::Vlan) => Some("vlan".to_owned()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

fn has_program(xdp: &[LinkXdp]) -> bool {
    xdp.iter().any(|attribute| match attribute {
        LinkXdp::Attached(attached) => *attached != XdpAttached::None,
        _ => false,
    })
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

/// `IFA_LOCAL` is the host's own address; `IFA_ADDRESS` is the same, or the far end's of a
/// point-to-point link (`linux/if_addr.h`).
pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let attributes = || message.attributes.iter();
    let own = attributes()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(address),
            _ => None,
        })
        .or_else(|| {
            attributes().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(address),
                _ => None,
            })
        })?;
    Some(Address {
        ifindex: message.header.index,
        net: IpNet::new(*own, message.header.prefix_len).ok()?,
    })
}

pub(super) fn routes(message: &RouteMessage) -> Vec<Route> {
    let Some((prefix, metric)) = destination(message) else {
        return Vec::new();
    };
    let (mut mtu, mut source) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Metrics(metrics) => mtu = route_mtu(metrics),
            RouteAttribute::PrefSource(address) => source = ip(address),
            _ => {}
        }
    }
    let route = |hop| Route {
        prefix,
        metric,
        hop,
        mtu,
        source,
    };
    hops(message).into_iter().map(route).collect()
}

fn route_mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// Prefix and metric of a route of the main table; `None` for any other and for those that only
/// concern multicast, broadcast or some sources.
fn destination(message: &RouteMessage) -> Option<(IpNet, u32)> {
    let header = &message.header;
    let (table, address, metric) = whereto(message)?;
    let is_ours = table == u32::from(RouteHeader::RT_TABLE_MAIN)
        && header.source_prefix_length == 0
        && header.tos == 0;
    let prefix = IpNet::new(address, header.destination_prefix_length).ok()?;
    is_ours.then_some((prefix.trunc(), metric))
}

/// Table, destination and metric of a route.
fn whereto(message: &RouteMessage) -> Option<(u32, IpAddr, u32)> {
    let header = &message.header;
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return None,
    };
    let (mut table, mut address, mut metric) = (u32::from(header.table), unspecified, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(destination) => address = ip(destination)?,
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    Some((table, address, metric))
}

/// A question for the routes of a family that bear a mark. Kernels before 4.20 answer with all.
pub(super) fn question(family: AddressFamily, mark: Mark) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    set_mark(&mut message, mark);
    message
}

/// A number above 255 does not fit the header; there is an attribute for it (`RTA_TABLE`).
fn set_mark(message: &mut RouteMessage, mark: Mark) {
    message.header.protocol = mark.protocol.into();
    match u8::try_from(mark.table) {
        Ok(table) => message.header.table = table,
        Err(_) => message.attributes.push(RouteAttribute::Table(mark.table)),
    }
}

/// A route of this mark; `None` for any other.
pub(super) fn marked(message: &RouteMessage, mark: Mark) -> Option<Marked> {
    let header = &message.header;
    let (table, address, metric) = whereto(message)?;
    let is_marked = table == mark.table && u8::from(header.protocol) == mark.protocol;
    let prefix = IpNet::new(address, header.destination_prefix_length).ok()?;
    is_marked.then_some(Marked {
        prefix,
        metric,
        tos: header.tos,
        is_blackhole: header.kind == RouteType::BlackHole,
    })
}

/// Adds a route.
pub(super) fn addition(mark: Mark, route: Marked) -> RouteMessage {
    let mut message = request(mark, route);
    message.header.kind = RouteType::BlackHole;
    message.header.scope = RouteScope::Universe;
    message
}

/// Removes a route of whatever kind and scope.
pub(super) fn removal(mark: Mark, route: Marked) -> RouteMessage {
    let mut message = request(mark, route);
    message.header.kind = RouteType::Unspec;
    message.header.scope = RouteScope::NoWhere;
    message
}

fn request(mark: Mark, route: Marked) -> RouteMessage {
    let mut message = RouteMessage::default();
    let address = route.prefix.addr();
    message.header.address_family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = route.prefix.prefix_len();
    message.header.tos = route.tos;
    set_mark(&mut message, mark);
    let attributes = [
        RouteAttribute::Destination(address.into()),
        RouteAttribute::Priority(route.metric),
    ];
    message.attributes.extend(attributes);
    message
}

fn hops(message: &RouteMessage) -> Vec<Hop> {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => {
            return vec![Hop::Kernel];
        }
        _ => return Vec::new(),
    }
    let several = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => Some(hops),
            _ => None,
        });
    several.map_or_else(
        || vec![hop(&message.attributes, None)],
        |several| several.iter().map(member).collect(),
    )
}

fn member(next_hop: &RouteNextHop) -> Hop {
    hop(&next_hop.attributes, Some(next_hop.interface_index))
}

fn hop(attributes: &[RouteAttribute], mut ifindex: Option<u32>) -> Hop {
    let mut gateway = None;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
            RouteAttribute::EncapType(_) => return Hop::Kernel,
            _ => {}
        }
    }
    match (ifindex, gateway) {
        (Some(ifindex), Some(address)) => Hop::Gateway { address, ifindex },
        (Some(ifindex), None) => Hop::OnLink { ifindex },
        (None, _) => Hop::Kernel,
    }
}

const fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

pub(super) fn neighbour(message: &NeighbourMessage) -> Option<((u32, IpAddr), Neighbour)> {
    let attributes = || message.attributes.iter();
    let address = attributes().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })?;
    let mac = attributes().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => mac(bytes),
        _ => None,
    });
    let key = (message.header.ifindex, address);
    Some((key, judged(message.header.state, mac)))
}

const fn judged(state: NeighbourState, mac: Option<Mac>) -> Neighbour {
    let Some(mac) = mac else {
        return Neighbour::Unresolved;
    };
    match state {
        NeighbourState::Permanent | NeighbourState::Noarp => Neighbour::Fixed(mac),
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe => Neighbour::Resolved(mac),
        _ => Neighbour::Unresolved,
    }
}
