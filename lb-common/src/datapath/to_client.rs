//! A backend's packet: is it one, and whom is it for? → rewrite back → route.

use super::{Direction, Family as _, Fib, Packet, Tables, rewrite};
use crate::{
    DropReason, PassReason, Verdict,
    backend::{Backend, ON_LINK},
    directory::{Kind, LOCAL},
    route::Action,
    wire::{Eth, Ip, IpAddress},
};

const END: u32 = Action::End as u32;
const NEXT_HOP: u32 = Action::NextHop as u32;
const DIRECT: u32 = Action::Direct as u32;

/// Sends what a backend, known by its pair index, answered to the client, as coming from the VIP.
#[inline(always)]
pub(super) fn send<I: Ip, T: Tables>(packet: Packet<'_, I>, pair: u32, tables: &T) -> Verdict {
    let client = packet.ip.destination();
    if is_local(client, tables) {
        return PassReason::ToHost.into();
    }
    let route = route::<I, T>(client, tables);
    if route.0 == DIRECT {
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
    let fib = resolve::<I, T>(I::Address::from_table(&backend.vip), client, route, tables);
    let verdict = leave(packet, backend, fib, tables);
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
    if !tables.interface().from_backends() {
        return Err(DropReason::ForgedBackend);
    }
    if backend.next_hop & ON_LINK == 0 {
        return Ok(());
    }
    let next_hop = tables
        .next_hop(backend.next_hop_index())
        .ok_or(DropReason::BackendUnresolved)?;
    if eth.macs.source() == next_hop.macs.destination() {
        Ok(())
    } else {
        Err(DropReason::ForgedBackend)
    }
}

/// What the routes say of a client: an [`Action`] as number, and a next hop's index. Longest prefix
/// first, so it is the first that matches.
#[inline(always)]
fn route<I: Ip, T: Tables>(client: I::Address, tables: &T) -> (u32, u32) {
    // The bound is not known to the compiler, which would otherwise unroll the loop.
    for index in 0..tables.routes() {
        let Some(route) = tables.route(I::V6, index) else {
            break;
        };
        if route.action == END {
            break;
        }
        let (prefix, mask) = (
            I::Address::from_table(&route.prefix),
            I::Address::from_table(&route.mask),
        );
        if client.within(prefix, mask) {
            return (route.action, route.next_hop);
        }
    }
    (END, 0)
}

/// The next hop towards a client, of the daemon's or of the kernel's making.
#[inline(always)]
fn resolve<I: Ip, T: Tables>(
    vip: I::Address,
    client: I::Address,
    (action, index): (u32, u32),
    tables: &T,
) -> Fib {
    if action == NEXT_HOP {
        if let Some(hop) = tables.next_hop(index) {
            return Fib::Resolved {
                macs: hop.macs,
                ifindex: hop.ifindex,
            };
        }
    }
    if action == END {
        Fib::Unroutable
    } else {
        tables.fib::<I>(vip, client)
    }
}

#[inline(always)]
fn leave<I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    backend: &Backend,
    fib: Fib,
    tables: &T,
) -> Verdict {
    match fib {
        Fib::Resolved { macs, ifindex } => {
            rewrite::towards_client(packet, backend, &macs);
            rewrite::emit(ifindex, tables)
        }
        Fib::Unresolved => {
            rewrite::for_the_kernel(packet, backend);
            PassReason::ClientUnresolved.into()
        }
        Fib::Unroutable => DropReason::ClientUnroutable.into(),
    }
}
