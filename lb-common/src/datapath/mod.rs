//! The packet's way.
//!
//! ```text
//! frame ─ parse ─► Packet ─ service ─► slot ─► backend ─ rewrite ─► next hop ─► verdict
//!                    │ no service: is it a backend's reply? ─ rewrite back ─► route ─► verdict
//!                    └ neither: is its address a VIP's? ─► verdict
//! ```
//!
//! Nothing is written to the frame before it is certain that it will be sent (or, rewritten, given
//! to the kernel to be sent): a packet that passes for another reason is as it came.

mod other;
mod packet;
mod rewrite;
mod tables;
mod to_backend;
mod to_client;

pub use packet::Packet;
pub use tables::{Direction, Fib, Tables};

use crate::{
    PassReason, Verdict, bits,
    directory::{Key, Kind},
    wire::{Cursor, Eth, Ip, IpAddress, Ipv4, Ipv6, Transport},
};

/// Decides what becomes of a frame, and rewrites it where that is called for.
#[inline(always)]
pub fn forward<'p, C: Cursor<'p>, T: Tables>(mut cursor: C, tables: &T) -> Verdict {
    let Some(eth) = cursor.take::<Eth>() else {
        return Verdict::Pass(PassReason::Malformed);
    };
    if !eth.is_for(tables.interface()) {
        return Verdict::Pass(PassReason::NotOurMac);
    }
    match eth.ether_type() {
        Eth::IPV4 if tables.serves(Ipv4::V6) => balance::<Ipv4, _, _>(eth, cursor, tables),
        Eth::IPV6 if tables.serves(Ipv6::V6) => balance::<Ipv6, _, _>(eth, cursor, tables),
        Eth::IPV4 | Eth::IPV6 => Verdict::Pass(PassReason::NotVip),
        _ => Verdict::Pass(PassReason::NotIp),
    }
}

#[inline(always)]
fn balance<'p, I: Ip + 'p, C: Cursor<'p>, T: Tables>(
    eth: &'p mut Eth,
    mut cursor: C,
    tables: &T,
) -> Verdict {
    let Some(ip) = cursor.take::<I>() else {
        return Verdict::Pass(PassReason::Malformed);
    };
    let parsed = ip.payload(&mut cursor);
    let transport = match parsed.and_then(|payload| Transport::take(payload, &mut cursor)) {
        Ok(transport) => transport,
        Err(portless) => return other::portless(portless, ip, tables),
    };
    let packet = Packet {
        eth,
        ip,
        transport,
        len: cursor.frame_len(),
    };
    let destination = packet.ip.destination().key(Kind::Address, [0; 2], 0);
    let may_be_ours = tables.addresses().may_hold(destination.tag);
    if may_be_ours && let Some(service) = service(&packet.service_key(), I::V6, tables) {
        return to_backend::send(packet, service, tables);
    }
    if let Some(pair) = tables.find(&packet.backend_key(), I::V6) {
        return to_client::send(packet, bits::low_half(pair), may_be_ours, tables);
    }
    if may_be_ours {
        other::no_service(packet.ip, tables)
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

/// The constant of an address family, under the name of its header.
trait Family: Ip {
    /// Whether it is IPv6.
    const V6: bool = <Self::Address as IpAddress>::V6;
}

impl<I: Ip> Family for I {}
