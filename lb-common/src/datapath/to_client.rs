//! A backend's packet: is it one, and whom is it for? → rewrite back → route.

use super::{Direction, Family as _, Fib, Packet, Tables, rewrite};
use crate::{
    DropReason, PassReason, Verdict,
    backend::{Backend, ON_LINK},
    directory::{Kind, LOCAL},
    interface::Interface,
    next_hop::Macs,
    route::Action,
    wire::{Eth, Ip, IpAddress},
};

/// Sends what a backend, known by its pair index, answered to the client, as coming from the VIP.
#[inline(always)]
pub(super) fn send<I: Ip, T: Tables>(packet: Packet<'_, I>, pair: u32, tables: &T) -> Verdict {
    let destination = packet.ip.destination();
    if is_local(destination, tables) {
        return Verdict::Pass(PassReason::ToHost);
    }
    let Some(backend) = tables.backend(pair) else {
        return Verdict::Drop(DropReason::TableError);
    };
    let way = route::<I, T>(destination, tables);
    if matches!(way, Way::Direct) {
        return Verdict::Pass(PassReason::Direct);
    }
    if let Err(reason) = is_genuine(packet.eth, backend, tables) {
        return Verdict::Drop(reason);
    }
    if packet.ip.hops() <= 1 {
        return Verdict::Drop(DropReason::TtlExpired);
    }
    let len = packet.len;
    let verdict = leave(packet, backend, way, tables);
    tables.count(pair, Direction::Return, len);
    verdict
}

#[inline(always)]
fn is_local<A: IpAddress, T: Tables>(address: A, tables: &T) -> bool {
    let key = address.key(Kind::Address, [0; 2], 0);
    tables
        .find(&key, A::V6)
        .is_some_and(|value| value & LOCAL != 0)
}

/// A packet that claims to come from a backend comes in where backends are, and, from a backend on
/// the link, with that backend's MAC address. Anything else would make xlb a reflector that lends
/// its VIP to forgers.
#[inline(always)]
fn is_genuine<T: Tables>(eth: &Eth, backend: &Backend, tables: &T) -> Result<(), DropReason> {
    if tables.interface().0 & Interface::FROM_BACKENDS == 0 {
        return Err(DropReason::ForgedBackend);
    }
    if backend.next_hop & ON_LINK == 0 {
        return Ok(());
    }
    let next_hop = tables
        .next_hop(backend.next_hop_index())
        .ok_or(DropReason::BackendUnresolved)?;
    if eth.macs.source == next_hop.macs.destination {
        Ok(())
    } else {
        Err(DropReason::ForgedBackend)
    }
}

/// The way to a client.
enum Way {
    Known { macs: Macs, ifindex: u32 },
    AskFib,
    Direct,
    None,
}

/// Longest prefix first, so the first that matches.
#[inline(always)]
fn route<I: Ip, T: Tables>(destination: I::Address, tables: &T) -> Way {
    const NEXT_HOP: u32 = Action::NextHop as u32;
    const FIB: u32 = Action::Fib as u32;
    const DIRECT: u32 = Action::Direct as u32;
    // The bound is not known to the compiler, which would otherwise unroll the loop.
    for index in 0..tables.routes() {
        let Some(route) = tables.route(I::V6, index) else {
            return Way::None;
        };
        if route.action == Action::End as u32 {
            return Way::None;
        }
        let prefix = I::Address::from_table(&route.prefix);
        if destination.within(prefix, I::Address::from_table(&route.mask)) {
            return match (route.action, tables.next_hop(route.next_hop)) {
                (NEXT_HOP, Some(hop)) => Way::Known {
                    macs: hop.macs,
                    ifindex: hop.ifindex,
                },
                (NEXT_HOP | FIB, _) => Way::AskFib,
                (DIRECT, _) => Way::Direct,
                _ => Way::None,
            };
        }
    }
    Way::None
}

#[inline(always)]
fn leave<I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    backend: &Backend,
    way: Way,
    tables: &T,
) -> Verdict {
    let fib = match way {
        Way::Known { macs, ifindex } => Fib::Resolved { macs, ifindex },
        Way::AskFib => {
            let vip = I::Address::from_table(&backend.vip);
            tables.fib::<I>(vip, packet.ip.destination())
        }
        Way::Direct | Way::None => Fib::Unroutable,
    };
    match fib {
        Fib::Resolved { macs, ifindex } => {
            rewrite::towards_client(packet, backend, &macs);
            rewrite::emit(ifindex, tables)
        }
        Fib::Unresolved => {
            rewrite::for_the_kernel(packet, backend);
            Verdict::Pass(PassReason::ClientUnresolved)
        }
        Fib::Unroutable => Verdict::Drop(DropReason::ClientUnroutable),
    }
}
