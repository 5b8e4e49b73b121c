//! Probes of the path: their source port names the backend that they are for, and what it answers goes back by the
//! link that they came in by. In all else they are packets of a client.

use super::{Packet, Tables, may_be_ours, owner, rewrite};
use crate::{
    Verdict,
    directory::{LOCAL, VIP},
    next_hop::NextHop,
    probe_link::MAC,
    wire::{Ip, IpAddress, Transport},
};

/// The pair that a probe is for; `None` where the packet is none, or quotes one.
#[inline(always)]
pub(super) fn pair<T: Tables>(transport: Option<&Transport<'_>>, tables: &T) -> Option<u32> {
    let link = tables.probe_link()?;
    if tables.ingress() != link.ifindex {
        return None;
    }
    link.pair(transport?.ports().source)
}

/// The way back to who probes; `None` where that is not whom a packet is for.
#[inline(always)]
pub(super) fn way_back<A: IpAddress, T: Tables>(
    address: A,
    port: [u8; 2],
    tables: &T,
) -> Option<NextHop> {
    let link = tables.probe_link()?;
    link.pair(port)?;
    let is_own = may_be_ours(address, tables) && owner(address, tables) & LOCAL != 0;
    is_own.then_some(NextHop::new(MAC, link.ifindex, false))
}

/// Hands over what a backend answered as the VIP.
#[inline(always)]
pub(super) fn answered<I: Ip, T: Tables>(
    packet: &mut Packet<'_, I>,
    tables: &T,
) -> Option<Verdict> {
    let ports = packet.transport.ports();
    let way = way_back(packet.ip.destination(), ports.destination, tables)?;
    if owner(packet.ip.source(), tables) & VIP == 0 {
        return None;
    }
    rewrite::leave_by(packet.eth, way, tables);
    Some(rewrite::emit(way.ifindex(), tables))
}
