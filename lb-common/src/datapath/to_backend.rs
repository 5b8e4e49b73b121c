//! A client's packet: slot → backend → rewrite → next hop.

use super::{Direction, Packet, Tables, rewrite};
use crate::{
    DropReason, Verdict,
    directory::Way,
    hash,
    row::Row,
    wire::{Ip, IpAddress},
};

/// Sends a packet for a service, whose directory value is given, to one of its backends.
#[inline(always)]
pub(super) fn send<I: Ip, T: Tables>(packet: Packet<'_, I>, service: u64, tables: &T) -> Verdict {
    let len = packet.len;
    let extent = Way::extent(service);
    match try_send(packet, service, tables) {
        Ok((pair, verdict)) => {
            tables.count(pair, Direction::Forward, len);
            verdict
        }
        Err(reason) => {
            tables.count(extent, Direction::Forward, len);
            Verdict::Drop(reason)
        }
    }
}

#[inline(always)]
fn try_send<I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    service: u64,
    tables: &T,
) -> Result<(u32, Verdict), DropReason> {
    let pair = Way::extent(service).wrapping_add(select(&packet, service, tables)?);
    let backend = tables.backend(pair).ok_or(DropReason::TableError)?;
    let next_hop = backend.next_hop;
    if !next_hop.is_resolved() {
        return Err(DropReason::BackendUnresolved);
    }
    if packet.ip.hops() <= 1 {
        return Err(DropReason::TtlExpired);
    }
    if packet.ip.source() == I::Address::from_table(&backend.address) {
        return Err(DropReason::Hairpin);
    }
    rewrite::leave_by(packet.eth, next_hop, tables);
    rewrite::towards_backend(packet, backend);
    Ok((pair, rewrite::emit(next_hop.ifindex(), tables)))
}

/// The owner of the flow's slot, as its distance from the extent's header.
#[inline(always)]
fn select<I: Ip, T: Tables>(
    packet: &Packet<'_, I>,
    service: u64,
    tables: &T,
) -> Result<u32, DropReason> {
    let (source, destination) = (packet.ip.source(), packet.ip.destination());
    let hash = hash::flow(
        tables.hash_key(),
        source,
        destination,
        *packet.transport.ports,
        packet.transport.protocol,
    );
    let table = Way::table(service);
    let row = tables
        .row(table.element(), table.slot(hash))
        .ok_or(DropReason::TableError)?;
    match row.primary() {
        owner if owner == u32::from(Row::NONE) => Err(DropReason::NoBackend),
        owner => Ok(owner),
    }
}
