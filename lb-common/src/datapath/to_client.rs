//! A backend's packet: is it one, and whom is it for? → rewrite back → route.

use super::{Direction, Fib, Packet, Tables, rewrite};
use crate::{
    DropReason, PassReason, Verdict,
    backend::Backend,
    directory::{Kind, LOCAL},
    next_hop::NextHop,
    route::Action,
    wire::{Eth, Ip, IpAddress},
};

const END: u32 = Action::End as u32;
const NEXT_HOP: u32 = Action::NextHop as u32;
const DIRECT: u32 = Action::Direct as u32;

/// Sends what a backend, known by its pair index, answered to the client, as coming from the VIP.
/// `may_be_ours`: the client's address may be in the directory.
#[inline(always)]
pub(super) fn send<I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    pair: u32,
    may_be_ours: bool,
    tables: &T,
) -> Verdict {
    let client = packet.ip.destination();
    let owner = if may_be_ours {
        owner(client, tables)
    } else {
        0
    };
    match owner {
        value if value & LOCAL != 0 => return PassReason::ToHost.into(),
        0 => {}
        _ => return DropReason::Martian.into(),
    }
    let (action, gateway) = route::<I, T>(client, tables);
    if action == DIRECT {
        return PassReason::Direct.into();
    }
    let Some(backend) = tables.backend(pair) else {
        return DropReason::TableError.into();
    };
    if let Err(reason) = is_genuine(packet.eth, backend, tables) {
        return reason.into();
    }
    if packet.ip.hops() <= 1 {
        return DropReason::TtlExpired.into();
    }
    let len = packet.len;
    let verdict = match (action, gateway.is_resolved()) {
        (END, _) => DropReason::ClientUnroutable.into(),
        (NEXT_HOP, true) => by_gateway(packet, backend, gateway, tables),
        _ => by_fib(packet, backend, tables),
    };
    tables.count(pair, Direction::Return, len);
    verdict
}

/// Whose an address is: [`LOCAL`], a VIP, or 0.
#[inline(always)]
fn owner<A: IpAddress, T: Tables>(address: A, tables: &T) -> u64 {
    let key = address.key(Kind::Address, [0; 2], 0);
    tables.find(&key, A::V6).unwrap_or(0)
}

/// A packet that claims to come from a backend comes in where backends are, and, from a backend on
/// the link, with that backend's MAC address. Anything else would make xlb a reflector that lends
/// its VIP to forgers.
#[inline(always)]
fn is_genuine<T: Tables>(eth: &Eth, backend: &Backend, tables: &T) -> Result<(), DropReason> {
    if !tables.interface().from_backends() {
        return Err(DropReason::ForgedBackend);
    }
    match backend.next_hop {
        hop if !hop.is_resolved() => Err(DropReason::BackendUnresolved),
        hop if hop.is_on_link() && eth.macs.source() != hop.mac() => Err(DropReason::ForgedBackend),
        _ => Ok(()),
    }
}

/// The first route that matches, which is the longest prefix; all zero where there is none.
#[inline(always)]
fn route<I: Ip, T: Tables>(client: I::Address, tables: &T) -> (u32, NextHop) {
    let Some(routes) = tables.routes(I::V6) else {
        return (END, NextHop::UNRESOLVED);
    };
    for route in routes {
        if route.action == END {
            break;
        }
        let prefix = I::Address::from_table(&route.prefix);
        if client.within(prefix, I::Address::from_table(&route.mask)) {
            return (route.action, route.next_hop);
        }
    }
    (END, NextHop::UNRESOLVED)
}

/// Rewrites a packet and sends it by a gateway that the daemon resolved.
#[inline(always)]
fn by_gateway<I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    backend: &Backend,
    gateway: NextHop,
    tables: &T,
) -> Verdict {
    rewrite::leave_by(packet.eth, gateway, tables);
    rewrite::towards_client(packet, backend);
    rewrite::emit(gateway.ifindex(), tables)
}

/// Rewrites a packet and sends it as the kernel's FIB says, or has the kernel do it.
#[inline(always)]
fn by_fib<I: Ip, T: Tables>(packet: Packet<'_, I>, backend: &Backend, tables: &T) -> Verdict {
    let vip = I::Address::from_table(&backend.vip);
    match tables.fib::<I>(vip, packet.ip.destination()) {
        Fib::Resolved { macs, ifindex } => {
            packet.eth.macs = macs;
            rewrite::towards_client(packet, backend);
            rewrite::emit(ifindex, tables)
        }
        Fib::Unresolved => {
            rewrite::for_the_kernel(packet, backend);
            PassReason::ClientUnresolved.into()
        }
        Fib::Unroutable => DropReason::ClientUnroutable.into(),
    }
}
