//! A backend's packet: is it one, and whom is it for? → rewrite back → route.

use super::{
    Decision, Direction, Fate, Fib, Obstacle, Packet, Tables, owner, probe, rewrite, shared,
};
use crate::{
    DropReason, PassReason,
    backend::Backend,
    directory::LOCAL,
    flow::{Flow, Side},
    next_hop::{Link, NextHop},
    route::Action,
    wire::{Eth, Ip, IpAddress},
};

const END: u32 = Action::End as u32;
const NEXT_HOP: u32 = Action::NextHop as u32;
const DIRECT: u32 = Action::Direct as u32;

/// The way to a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exit {
    /// Between these MAC addresses, out of this interface.
    Link {
        /// What to write at the head of the frame.
        link: Link,
        /// Its index.
        ifindex: u32,
    },
    /// The kernel must resolve the next hop: it gets the packet rewritten, takes the hop and writes the
    /// MAC addresses.
    Kernel,
}

/// Sends what a backend, known by its pair index, answered to the client, as coming from the VIP.
/// `may_be_ours`: the client's address may be in the directory.
#[inline(always)]
pub(super) fn send<'t, I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    pair: u32,
    may_be_ours: bool,
    tables: &'t T,
) -> Fate<'t> {
    let client = packet.ip.destination();
    let port = packet.transport.ports().destination;
    let (action, gateway) = if !may_be_ours {
        route(client, tables)
    } else if let Some(way) = probe::way_back(client, port, tables) {
        (NEXT_HOP, way)
    } else {
        is_client(client, tables)?;
        route(client, tables)
    };
    if action == DIRECT {
        return Err(PassReason::Direct.into());
    }
    let backend = tables.backend(pair).ok_or(DropReason::TableError)?;
    let (pair, backend) = if shared::is(backend, tables) {
        let refresh = Some(packet.transport.marks());
        let key = packet.flow_key(Side::Backend);
        shared::answering(&key, refresh, pair, backend, tables)?
    } else {
        (pair, backend)
    };
    is_genuine(packet.eth, backend, tables)?;
    let vip = I::Address::from_table(&backend.vip);
    may_go(packet.ip).map_err(|it| it.told(vip, tables))?;
    packet.has_due_checksum()?;
    packet.count(pair, Direction::Return, backend.mss, tables)?;
    let exit = exit(packet.ip, vip, client, (action, gateway), tables)
        .map_err(|it| it.told(vip, tables))?;
    packet.remember((vip, client), pair, Direction::Return, 0, tables);
    rewrite::towards_client(packet, backend, exit);
    Ok(leaves(exit, tables))
}

/// The same for a flow that full NAT remembers.
#[inline(always)]
pub(super) fn send_flow<'t, I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    flow: &Flow,
    tables: &'t T,
) -> Fate<'t> {
    let backend = tables.backend(flow.pair).ok_or(DropReason::TableError)?;
    is_genuine(packet.eth, backend, tables)?;
    let vip = I::Address::from_table(&flow.source);
    may_go(packet.ip).map_err(|it| it.told(vip, tables))?;
    packet.has_due_checksum()?;
    packet.count(flow.pair, Direction::Return, backend.mss, tables)?;
    let client = I::Address::from_table(&flow.destination);
    let way = match probe::way_back(client, flow.ports().destination, tables) {
        Some(way) => (NEXT_HOP, way),
        None => route(client, tables),
    };
    let exit = exit(packet.ip, vip, client, way, tables).map_err(|it| it.told(vip, tables))?;
    packet.remember((vip, client), flow.pair, Direction::Return, 0, tables);
    rewrite::by_flow(packet, flow, exit);
    Ok(leaves(exit, tables))
}

/// What a packet that goes by an exit ends in.
#[inline(always)]
pub(super) fn leaves<'t, T: Tables>(exit: Exit, tables: &T) -> Decision<'t> {
    match exit {
        Exit::Link { ifindex, .. } => rewrite::emit(ifindex, tables).into(),
        Exit::Kernel => PassReason::ClientUnresolved.into(),
    }
}

/// Whom the answer is for: not this host itself, which probes, and no VIP.
#[inline(always)]
pub(super) fn is_client<'t, A: IpAddress, T: Tables>(
    address: A,
    tables: &T,
) -> Result<(), Decision<'t>> {
    match owner(address, tables) {
        value if value & LOCAL != 0 => Err(PassReason::ToHost.into()),
        0 => Ok(()),
        _ => Err(DropReason::Martian.into()),
    }
}

/// A packet that claims to come from a backend comes in where backends are, and, from a backend on
/// the link, with that backend's MAC address. Anything else would make xlb a reflector that lends
/// its VIP to forgers.
#[inline(always)]
pub(super) fn is_genuine<T: Tables>(
    eth: &Eth,
    backend: &Backend,
    tables: &T,
) -> Result<(), DropReason> {
    if !tables.interface().from_backends() {
        return Err(DropReason::ForgedBackend);
    }
    match backend.next_hop {
        hop if !hop.is_resolved() => Err(DropReason::BackendUnresolved),
        hop if hop.is_on_link() && eth.macs.source() != hop.mac() => Err(DropReason::ForgedBackend),
        _ => Ok(()),
    }
}

#[inline(always)]
pub(super) fn may_go<I: Ip>(ip: &I) -> Result<(), Obstacle> {
    if ip.hops() <= 1 {
        return Err(Obstacle::HOPS);
    }
    Ok(())
}

/// The first route that matches, which is the longest prefix; all zero where there is none.
#[inline(always)]
pub(super) fn route<A: IpAddress, T: Tables>(client: A, tables: &T) -> (u32, NextHop) {
    let Some(routes) = tables.routes(A::V6) else {
        return (END, NextHop::UNRESOLVED);
    };
    for route in routes {
        if route.action == END {
            break;
        }
        let prefix = A::from_table(&route.prefix);
        if client.within(prefix, A::from_table(&route.mask)) {
            return (route.action, route.next_hop);
        }
    }
    (END, NextHop::UNRESOLVED)
}

/// The way to a client by the route that was found: its gateway, or what the kernel's FIB says. A packet
/// that does not fit the link is not sent.
#[inline(always)]
pub(super) fn exit<I: Ip, T: Tables>(
    ip: &I,
    vip: I::Address,
    client: I::Address,
    (action, gateway): (u32, NextHop),
    tables: &T,
) -> Result<Exit, Obstacle> {
    let (link, ifindex) = match (action, gateway.is_resolved()) {
        (END, _) => return Err(DropReason::ClientUnroutable.into()),
        (NEXT_HOP, true) => (rewrite::link(gateway, tables), gateway.ifindex()),
        _ => match tables.fib::<I>(vip, client) {
            Fib::Resolved { link, ifindex } => (link, ifindex),
            Fib::Unresolved => return Ok(Exit::Kernel),
            Fib::Unroutable => return Err(DropReason::ClientUnroutable.into()),
        },
    };
    if ifindex != tables.ingress() {
        let mtu = tables.link(ifindex).mtu();
        if mtu != 0 && ip.total_len() > mtu {
            return Err(Obstacle::mtu(mtu));
        }
    }
    Ok(Exit::Link { link, ifindex })
}
