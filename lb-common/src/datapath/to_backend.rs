//! A client's packet: slot → backend → checks → rewrite or encapsulate → next hop.

use super::{
    Decision, Detour, Direction, Fate, Obstacle, Packet, Tables, full_nat, owner, rewrite,
    select::{self, Choice, Selector},
    shared, tunnel,
};
use crate::{
    DropReason, Verdict,
    backend::{Backend, Mode, Tunnel},
    checksum::Delta,
    directory::{VIP, Way},
    wire::{Ip, IpAddress},
};

pub(super) const NAT: u8 = Mode::Nat as u8;
pub(super) const FULL_NAT: u8 = Mode::FullNat as u8;
pub(super) const L2_DSR: u8 = Mode::L2Dsr as u8;
pub(super) const IPIP: u8 = Mode::Ipip as u8;
pub(super) const GUE: u8 = Mode::Gue as u8;

/// Sends a packet for a service, whose directory value is given, to one of its backends.
#[inline(always)]
pub(super) fn send<'t, I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    service: u64,
    tables: &'t T,
) -> Fate<'t> {
    let len = packet.len;
    let fate = try_send(packet, service, tables);
    match &fate {
        // Counted, or to be counted by the next program.
        Ok(_) => {}
        Err(Decision::Final(step))
            if *step == Detour::Moving.into()
                || *step == Detour::Flow.into()
                || *step == Detour::Syn.into() => {}
        Err(_) => tables.count(Way::extent(service), Direction::Forward, len),
    }
    fate
}

#[inline(always)]
fn try_send<'t, I: Ip, T: Tables>(packet: Packet<'_, I>, service: u64, tables: &'t T) -> Fate<'t> {
    may_ask(packet.ip.source(), tables)?;
    let selector = packet.selector(service, tables);
    let Selector { hash, flow, .. } = selector;
    let choice = select::owner(&selector, service, tables)?;
    let backend = tables.backend(choice.pair).ok_or(DropReason::TableError)?;
    match tables.mode(backend) {
        FULL_NAT if full_nat::is_used(tables) => full_nat::send(packet, choice.pair, tables),
        NAT if shared::is(backend, tables) => {
            shared::send(packet, choice.pair, hash, service, tables)
        }
        mode => deliver(packet, flow, choice, (mode, backend), tables),
    }
}

/// A client is no group, not everybody, not nobody, and no VIP (a land attack, for one).
#[inline(always)]
pub(super) fn may_ask<A: IpAddress, T: Tables>(source: A, tables: &T) -> Result<(), DropReason> {
    let is_vip = super::may_be_ours(source, tables) && owner(source, tables) & VIP != 0;
    if is_vip || !source.may_send() {
        return Err(DropReason::MartianSource);
    }
    Ok(())
}

/// Sends a packet to the backend that was chosen, in the backend's mode: written out for each, which is asked for once.
#[inline(always)]
pub(super) fn deliver<'t, I: Ip, T: Tables>(
    packet: Packet<'_, I>,
    hash: u64,
    choice: Choice,
    (mode, backend): (u8, &'t Backend),
    tables: &'t T,
) -> Fate<'t> {
    match mode {
        NAT => deliver_by::<NAT, _, _>(packet, hash, choice, backend, tables),
        L2_DSR => deliver_by::<L2_DSR, _, _>(packet, hash, choice, backend, tables),
        IPIP | GUE => deliver_by::<IPIP, _, _>(packet, hash, choice, backend, tables),
        // In the place of a shared backend where the flow cannot be: it would need a place of its own.
        FULL_NAT if full_nat::is_used(tables) => Err(DropReason::NatCollision.into()),
        _ => Err(DropReason::ModeUnknown.into()),
    }
}

/// In this mode: [`NAT`], [`L2_DSR`], or [`IPIP`] for both tunnels.
#[inline(always)]
fn deliver_by<'t, const MODE: u8, I: Ip, T: Tables>(
    mut packet: Packet<'_, I>,
    hash: u64,
    choice: Choice,
    backend: &'t Backend,
    tables: &'t T,
) -> Fate<'t> {
    may_go(packet.ip, MODE, backend, tables)
        .map_err(|it| it.told(packet.ip.destination(), tables))?;
    let mut destination = packet.ip.destination();
    if MODE == NAT {
        may_translate(&packet, backend)?;
        destination = I::Address::from_table(&backend.address);
    }
    packet.count(choice.pair, Direction::Forward, backend.mss, tables)?;
    let ends = (packet.ip.source(), destination);
    packet.remember(
        ends,
        choice.pair,
        Direction::Forward,
        tunnel::entropy(hash),
        tables,
    );
    if MODE == IPIP {
        let inner = tunnel::Inner::of_packet(&mut packet, backend, hash, tables);
        return Ok(Decision::Encapsulate(inner.or_by(choice.second)));
    }
    rewrite::leave_by(packet.eth, backend.next_hop, tables);
    if MODE == NAT {
        rewrite::towards_backend(packet, backend);
    } else {
        packet.ip.spend_hop(Delta::NONE);
    }
    Ok(rewrite::emit(backend.next_hop.ifindex(), tables).into())
}

/// The receiver that a packet gets must not be its sender: the answer would not cross xlb.
#[inline(always)]
fn may_translate<I: Ip>(packet: &Packet<'_, I>, backend: &Backend) -> Result<(), Verdict> {
    packet.has_due_checksum()?;
    if packet.ip.source() == I::Address::from_table(&backend.address) {
        return Err(DropReason::Hairpin.into());
    }
    Ok(())
}

/// Whether a packet may go the way of a backend of this mode.
#[inline(always)]
pub(super) fn may_go<I: Ip, T: Tables>(
    ip: &I,
    mode: u8,
    backend: &Backend,
    tables: &T,
) -> Result<(), Obstacle> {
    if !backend.next_hop.is_resolved() {
        return Err(DropReason::BackendUnresolved.into());
    }
    if ip.hops() <= 1 {
        return Err(Obstacle::HOPS);
    }
    let mtu = limit(mode, backend, tables);
    if ip.total_len() > mtu {
        return Err(Obstacle::mtu(mtu));
    }
    Ok(())
}

/// Bytes of the longest packet that fits the way: the egress link, and what routers said of the path of
/// a tunnel.
#[inline(always)]
fn limit<T: Tables>(mode: u8, backend: &Backend, tables: &T) -> usize {
    let mtu = usize::from(backend.mtu);
    if !matches!(mode, IPIP | GUE) {
        return mtu;
    }
    let tunnel: &Tunnel = zerocopy::transmute_ref!(backend);
    match usize::from(tables.path(tunnel.index).mtu()) {
        0 => mtu,
        path => mtu.min(path),
    }
}
