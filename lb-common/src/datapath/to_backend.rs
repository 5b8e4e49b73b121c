//! A client's packet: slot → backend → checks → rewrite or encapsulate → next hop.

use super::{Decision, Direction, Packet, Tables, rewrite, tunnel};
use crate::{
    DropReason, Verdict,
    backend::{Backend, Mode},
    checksum::Delta,
    directory::Way,
    hash,
    row::Row,
    wire::{Ip, IpAddress},
};

const NAT: u8 = Mode::Nat as u8;
const L2_DSR: u8 = Mode::L2Dsr as u8;
const IPIP: u8 = Mode::Ipip as u8;
const GUE: u8 = Mode::Gue as u8;

/// Sends a packet for a service, whose directory value is given, to one of its backends.
#[inline(always)]
pub(super) fn send<'t, I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    service: u64,
    tables: &'t T,
) -> Decision<'t> {
    let len = packet.len;
    let extent = Way::extent(service);
    match try_send(packet, service, tables) {
        Ok((pair, decision)) => {
            tables.count(pair, Direction::Forward, len);
            decision
        }
        Err(reason) => {
            tables.count(extent, Direction::Forward, len);
            Decision::Final(reason.into())
        }
    }
}

#[inline(always)]
fn try_send<'t, I: Ip, T: Tables>(
    mut packet: Packet<'_, I>,
    service: u64,
    tables: &'t T,
) -> Result<(u32, Decision<'t>), DropReason> {
    let hash = hash(&packet, tables);
    let pair = Way::extent(service).wrapping_add(select(hash, service, tables)?);
    let backend = tables.backend(pair).ok_or(DropReason::TableError)?;
    let next_hop = backend.next_hop;
    if !next_hop.is_resolved() {
        return Err(DropReason::BackendUnresolved);
    }
    if packet.ip.hops() <= 1 {
        return Err(DropReason::TtlExpired);
    }
    if packet.ip.total_len() > usize::from(backend.mtu) {
        return Err(DropReason::MtuExceeded);
    }
    let decision = match mode(backend, tables) {
        NAT => nat(packet, backend, tables)?.into(),
        L2_DSR => l2_dsr(&mut packet, backend, tables).into(),
        IPIP | GUE => Decision::Encapsulate(tunnel::Inner::new(packet, backend, hash)),
        _ => return Err(DropReason::ModeUnknown),
    };
    Ok((pair, decision))
}

/// The backend's mode. Where the configuration has only one, it is a constant, and the verifier
/// removes the others' code.
#[inline(always)]
fn mode<T: Tables>(backend: &Backend, tables: &T) -> u8 {
    let modes = tables.modes();
    for only in [Mode::Nat, Mode::L2Dsr, Mode::Ipip, Mode::Gue] {
        if modes == only.bit() {
            return only as u8;
        }
    }
    backend.mode
}

#[inline(always)]
fn nat<I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    backend: &Backend,
    tables: &T,
) -> Result<Verdict, DropReason> {
    if packet.ip.source() == I::Address::from_table(&backend.address) {
        return Err(DropReason::Hairpin);
    }
    rewrite::leave_by(packet.eth, backend.next_hop, tables);
    rewrite::towards_backend(packet, backend);
    Ok(rewrite::emit(backend.next_hop.ifindex(), tables))
}

#[inline(always)]
fn l2_dsr<I: Ip, T: Tables>(packet: &mut Packet<'_, I>, backend: &Backend, tables: &T) -> Verdict {
    rewrite::leave_by(packet.eth, backend.next_hop, tables);
    packet.ip.spend_hop(Delta::NONE);
    rewrite::emit(backend.next_hop.ifindex(), tables)
}

#[inline(always)]
fn hash<I: Ip, T: Tables>(packet: &Packet<'_, I>, tables: &T) -> u64 {
    hash::flow(
        tables.hash_key(),
        packet.ip.source(),
        packet.ip.destination(),
        *packet.transport.ports,
        packet.transport.protocol,
    )
}

/// The owner of the flow's slot, as its distance from the extent's header.
#[inline(always)]
fn select<T: Tables>(hash: u64, service: u64, tables: &T) -> Result<u32, DropReason> {
    let table = Way::table(service);
    let row = tables
        .row(table.element(), table.slot(hash))
        .ok_or(DropReason::TableError)?;
    match row.primary() {
        owner if owner == u32::from(Row::NONE) => Err(DropReason::NoBackend),
        owner => Ok(owner),
    }
}
