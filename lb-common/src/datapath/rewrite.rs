//! New addresses and ports, with incremental checksums (RFC 1624), and the way out.

use super::{Packet, Tables};
use crate::{
    Verdict,
    backend::Backend,
    checksum::Delta,
    next_hop::{Macs, NextHop},
    wire::{Eth, Ip, IpAddress},
};

/// VIP → backend.
#[inline(always)]
pub(super) fn towards_backend<I: Ip>(mut packet: Packet<'_, I>, backend: &Backend) {
    packet
        .ip
        .set_destination(I::Address::from_table(&backend.address));
    let port = u16::from_be_bytes(packet.transport.ports.destination);
    packet.transport.ports.destination = port.wrapping_add(backend.port_shift).to_be_bytes();
    packet.ip.spend_hop(Delta(backend.ip_delta));
    packet.transport.update_checksum(Delta(backend.l4_delta));
}

/// Backend → VIP.
#[inline(always)]
pub(super) fn towards_client<I: Ip>(packet: Packet<'_, I>, backend: &Backend) {
    packet.ip.spend_hop(Delta(backend.ip_delta).reversed());
    set_sender(packet, backend);
}

/// Backend → VIP, for the kernel to forward: it takes the hop and writes the MAC addresses.
#[inline(always)]
pub(super) fn for_the_kernel<I: Ip>(packet: Packet<'_, I>, backend: &Backend) {
    packet
        .ip
        .update_checksum(Delta(backend.ip_delta).reversed());
    set_sender(packet, backend);
}

#[inline(always)]
fn set_sender<I: Ip>(mut packet: Packet<'_, I>, backend: &Backend) {
    packet.ip.set_source(I::Address::from_table(&backend.vip));
    let port = u16::from_be_bytes(packet.transport.ports.source);
    packet.transport.ports.source = port.wrapping_sub(backend.port_shift).to_be_bytes();
    packet
        .transport
        .update_checksum(Delta(backend.l4_delta).reversed());
}

/// Writes the MAC addresses for a next hop.
#[inline(always)]
pub(super) fn leave_by<T: Tables>(eth: &mut Eth, next_hop: NextHop, tables: &T) {
    let source = if next_hop.ifindex() == tables.ingress() {
        tables.interface().mac()
    } else {
        tables.mac(next_hop.ifindex())
    };
    eth.macs = Macs::new(next_hop.mac(), source);
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
