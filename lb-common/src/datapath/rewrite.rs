//! New addresses and ports, with incremental checksums (RFC 1624), and the way out.

use super::{Packet, Tables, to_client::Exit};
use crate::{
    Verdict,
    backend::Backend,
    checksum::Delta,
    flow::Flow,
    next_hop::{Link, NextHop},
    wire::{Eth, Ip, IpAddress},
};

/// VIP → backend.
#[inline(always)]
pub(super) fn towards_backend<I: Ip>(mut packet: Packet<'_, I>, backend: &Backend) {
    packet
        .ip
        .set_destination(I::Address::from_table(&backend.address));
    let ports = packet.transport.ports_mut();
    ports.destination = backend.port_for(ports.destination);
    packet.ip.spend_hop(Delta(backend.ip_delta));
    packet.transport.update_checksum(Delta(backend.l4_delta));
}

/// Backend → VIP.
#[inline(always)]
pub(super) fn towards_client<I: Ip>(packet: Packet<'_, I>, backend: &Backend, exit: Exit) {
    leave(
        packet.eth,
        packet.ip,
        Delta(backend.ip_delta).reversed(),
        exit,
    );
    set_sender(packet, backend);
}

/// Client → pool and VIP → backend, or backend → VIP and pool → client.
#[inline(always)]
pub(super) fn by_flow<I: Ip>(mut packet: Packet<'_, I>, flow: &Flow, exit: Exit) {
    leave(packet.eth, packet.ip, Delta(flow.ip_delta), exit);
    packet.ip.set_source(I::Address::from_table(&flow.source));
    packet
        .ip
        .set_destination(I::Address::from_table(&flow.destination));
    *packet.transport.ports_mut() = flow.ports();
    packet.transport.update_checksum(Delta(flow.l4_delta));
}

/// Writes both addresses; what that adds to a checksum over them.
#[inline(always)]
pub(super) fn readdress<I: Ip>(ip: &mut I, source: I::Address, destination: I::Address) -> Delta {
    let delta = of_addresses((ip.source(), ip.destination()), (source, destination));
    ip.set_source(source);
    ip.set_destination(destination);
    delta
}

/// What two other addresses add to a checksum over them.
#[inline(always)]
pub(super) fn of_addresses<A: IpAddress>(old: (A, A), new: (A, A)) -> Delta {
    Delta::between(old.0.sum(), new.0.sum()).and(Delta::between(old.1.sum(), new.1.sum()))
}

/// Writes the MAC addresses and takes the hop, or leaves both to the kernel.
#[inline(always)]
pub(super) fn leave<I: Ip>(eth: &mut Eth, ip: &mut I, delta: Delta, exit: Exit) {
    match exit {
        Exit::Link { link, .. } => {
            eth.macs = link.into();
            ip.spend_hop(delta);
        }
        Exit::Kernel => ip.update_checksum(delta),
    }
}

#[inline(always)]
fn set_sender<I: Ip>(mut packet: Packet<'_, I>, backend: &Backend) {
    packet.ip.set_source(I::Address::from_table(&backend.vip));
    let ports = packet.transport.ports_mut();
    ports.source = backend.vip_port_for(ports.source);
    packet
        .transport
        .update_checksum(Delta(backend.l4_delta).reversed());
}

/// The MAC addresses for a next hop.
#[inline(always)]
pub(super) fn link<T: Tables>(next_hop: NextHop, tables: &T) -> Link {
    let from = if next_hop.ifindex() == tables.ingress() {
        tables.interface().mac()
    } else {
        tables.link(next_hop.ifindex()).mac()
    };
    Link {
        to: next_hop.mac(),
        from,
    }
}

/// Writes the MAC addresses for a next hop.
#[inline(always)]
pub(super) fn leave_by<T: Tables>(eth: &mut Eth, next_hop: NextHop, tables: &T) {
    eth.macs = link(next_hop, tables).into();
}

/// Out by the interface it came in by, or by another one.
#[inline(always)]
pub(super) fn emit<T: Tables>(ifindex: u32, tables: &T) -> Verdict {
    if ifindex == tables.ingress() {
        Verdict::Transmit
    } else {
        Verdict::Redirect(ifindex)
    }
}
