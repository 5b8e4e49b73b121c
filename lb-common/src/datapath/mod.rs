//! The packet's way.
//!
//! ```text
//! frame ─ parse ─► Packet ─ service ─► slot ─► backend ─ rewrite ─► next hop ─► verdict
//!                    │ no service: is it a backend's reply? ─ rewrite back ─► route ─► verdict
//!                    └ neither: is its address a VIP's? ─► verdict
//! ```
//!
//! A packet for a tunnel leaves the first pass ready to be wrapped, and is wrapped in a second one, as
//! its headers move.
//!
//! VLAN tags are taken off before the first pass and put back behind the last.
//!
//! Nothing is written to the frame before it is certain that it will be sent (or, rewritten, given
//! to the kernel to be sent): a packet that passes for another reason is as it came.

mod detour;
mod other;
mod packet;
mod rewrite;
mod tables;
mod to_backend;
mod to_client;
mod tunnel;
mod vlan;

pub use detour::{Detour, Note, Step};
pub use packet::Packet;
pub use tables::{Direction, Fib, Tables};
pub(crate) use vlan::Tags;

use crate::{
    DropReason, PassReason, Verdict, bits,
    directory::{Key, Kind},
    wire::{Cursor, Eth, Frame, Ip, IpAddress as _, Ipv4, Ipv6, Transport},
};

/// What the first pass over a frame comes to.
enum Decision<'t> {
    /// The verdict; the frame is as it is to be.
    Final(Verdict),
    /// The packet goes through a tunnel.
    Encapsulate(tunnel::Inner<'t>),
}

impl<V: Into<Verdict>> From<V> for Decision<'_> {
    #[inline(always)]
    fn from(verdict: V) -> Self {
        Self::Final(verdict.into())
    }
}

/// Decides what becomes of a frame, and rewrites it where that is called for.
#[inline(always)]
pub fn forward<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    let Some(tags) = Tags::take_off(frame) else {
        return PassReason::Malformed.into();
    };
    let verdict = forward_untagged(frame, tables);
    match tags.put_back(frame) {
        Some(()) => verdict,
        None => DropReason::NoHeadroom.into(),
    }
}

#[inline(always)]
fn forward_untagged<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    match decide(frame.cursor(), tables) {
        Decision::Final(verdict) => verdict,
        Decision::Encapsulate(inner) => tunnel::send(frame, inner, tables),
    }
}

#[inline(always)]
fn decide<'p, 't, C: Cursor<'p>, T: Tables>(mut cursor: C, tables: &'t T) -> Decision<'t> {
    let Some(eth) = cursor.take::<Eth>() else {
        return PassReason::Malformed.into();
    };
    if !eth.is_for(tables.interface()) {
        return PassReason::NotOurMac.into();
    }
    match eth.ether_type() {
        Eth::IPV4 if tables.serves(Ipv4::V6) => balance::<Ipv4, _, _>(eth, cursor, tables),
        Eth::IPV6 if tables.serves(Ipv6::V6) => balance::<Ipv6, _, _>(eth, cursor, tables),
        Eth::IPV4 | Eth::IPV6 => PassReason::NotVip.into(),
        _ => PassReason::NotIp.into(),
    }
}

#[inline(always)]
fn balance<'p, 't, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
    eth: &'p mut Eth,
    mut cursor: C,
    tables: &'t T,
) -> Decision<'t> {
    let Some(ip) = cursor.take::<I>() else {
        return PassReason::Malformed.into();
    };
    let payload = match ip.payload(&mut cursor) {
        Ok(payload) => payload,
        Err(portless) => return other::portless(portless, ip, tables).into(),
    };
    let transport = match Transport::take(payload, &mut cursor) {
        Ok(transport) => transport,
        Err(portless) => return other::portless(portless, ip, tables).into(),
    };
    let packet = Packet {
        eth,
        ip,
        transport,
        len: cursor.frame_len(),
        transport_len: payload.len,
    };
    let destination = packet.ip.destination().key(Kind::Address, [0; 2], 0);
    let may_be_ours = tables.addresses().may_hold(destination.tag);
    if may_be_ours && let Some(service) = service(&packet.service_key(), I::V6, tables) {
        return to_backend::send(packet, service, tables);
    }
    if let Some(pair) = tables.find(&packet.backend_key(), I::V6) {
        return to_client::send(packet, bits::low_half(pair), may_be_ours, tables).into();
    }
    if may_be_ours {
        other::no_service(packet.ip, tables).into()
    } else {
        PassReason::NotVip.into()
    }
}

/// What the directory says of a service: the front way first, which costs nothing where it is another
/// service's, and spares the CPU the wait for the look-up where it is this one's.
#[inline(always)]
fn service<T: Tables>(key: &Key, v6: bool, tables: &T) -> Option<u64> {
    match tables.front() {
        Some(way) if way.is(key, v6) => Some(way.value),
        _ => tables.find(key, v6),
    }
}
