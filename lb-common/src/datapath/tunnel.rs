//! A client's packet in another one: outer header, MAC addresses, the way out.
//!
//! The type of service, congestion notification included, is copied outwards (RFC 6040, §4.1, normal
//! mode). Outer IPv4 headers forbid fragmentation: a path with a smaller MTU answers with an error,
//! which is what sets the backend's path MTU.

use network_types::ip::IpProto;
use zerocopy::transmute_ref;

use super::{Packet, Tables, rewrite, sum};
use crate::{
    DropReason, Verdict,
    address::Address,
    backend::{Backend, Mode, Tunnel},
    bits,
    checksum::{Delta, fold},
    maps::Feature,
    wire::{
        Cursor, Eth, Frame, Ip, IpAddress as _, Ipv4, Ipv6, Ports,
        gue::{Gue, Hop},
        ip::Outer,
        transport::{UDP, Udp},
    },
};

/// A packet to be wrapped, of which nothing is held but what the outer headers say of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inner<'t> {
    backend: &'t Backend,
    /// Bits of the flow's hash that do not name its slot.
    entropy: u32,
    /// Bytes of the packet, IP header included.
    len: usize,
    /// Type of service or traffic class.
    class: u8,
    /// Its protocol number in the outer header.
    protocol: u8,
    /// Its sum, where one is called for and its transport checksum tells it.
    sum: Option<u16>,
    /// The pair that may have the flow, too; 0: none.
    second: u32,
}

impl<'t> Inner<'t> {
    /// Takes a hop from a packet, and leaves it ready to be wrapped.
    #[inline(always)]
    pub(super) fn of_packet<I: Ip, T: Tables>(
        packet: &mut Packet<'_, I>,
        backend: &'t Backend,
        hash: u64,
        tables: &T,
    ) -> Self {
        let len = packet.transport_len;
        let tunnel: &Tunnel = transmute_ref!(backend);
        let summed = is_gue(tunnel, tables)
            && tunnel.v6 != 0
            && packet.is_whole
            && packet.transport.has_checksum()
            && packet.transport.covers(len)
            && (!I::V6 || packet.ip.total_len() == Ipv6::LEN + len);
        let inner = Self::of_ip(packet.ip, backend, entropy(hash));
        let sum = || packet.ip.packet_sum(packet.transport.protocol, len);
        Self {
            sum: summed.then(sum),
            ..inner
        }
    }

    /// The same for any IP packet, whose sum is not known.
    #[inline(always)]
    pub(super) fn of_ip<I: Ip>(ip: &mut I, backend: &'t Backend, entropy: u32) -> Self {
        ip.spend_hop(Delta::NONE);
        Self {
            backend,
            entropy,
            len: ip.total_len(),
            class: ip.class(),
            protocol: if I::V6 {
                IpProto::Ipv6 as u8
            } else {
                IpProto::Ipv4 as u8
            },
            sum: None,
            second: 0,
        }
    }

    /// The same where another pair may have the flow; 0: none.
    #[inline(always)]
    pub(super) const fn or_by(self, second: u32) -> Self {
        Self { second, ..self }
    }

    /// The address of the pair that may have the flow, too, where the backend hands over what it does not know.
    #[inline(always)]
    fn second<O: Ip, T: Tables>(&self, tables: &T) -> Option<Address> {
        if !tables.uses(Feature::SecondChance) || self.second == 0 {
            return None;
        }
        let tunnel: &Tunnel = transmute_ref!(tables.backend(self.second)?);
        let is_like = tunnel.mode == Mode::Gue as u8 && (tunnel.v6 != 0) == O::V6;
        is_like.then_some(tunnel.destination)
    }
}

/// The bits of a flow's hash that do not name its slot.
#[inline(always)]
pub(super) const fn entropy(hash: u64) -> u32 {
    bits::low_half(hash >> 32)
}

/// Wraps a packet and sends it to its backend.
#[inline(always)]
pub(super) fn send<F: Frame, T: Tables>(frame: &mut F, inner: Inner<'_>, tables: &T) -> Verdict {
    let tunnel: &Tunnel = transmute_ref!(inner.backend);
    let sent = match (is_gue(tunnel, tables), tunnel.v6 != 0) {
        (false, false) => ipip::<Ipv4, _, _>(frame, inner, tables),
        (false, true) => ipip::<Ipv6, _, _>(frame, inner, tables),
        (true, false) => gue::<Ipv4, _, _>(frame, inner, tables),
        (true, true) => gue::<Ipv6, _, _>(frame, inner, tables),
    };
    match sent {
        Some(()) => rewrite::emit(tunnel.next_hop.ifindex(), tables),
        None => DropReason::NoHeadroom.into(),
    }
}

#[inline(always)]
fn is_gue<T: Tables>(tunnel: &Tunnel, tables: &T) -> bool {
    tables.modes() & Mode::Gue.bit() != 0 && tunnel.mode == Mode::Gue as u8
}

/// In an IP packet.
#[inline(always)]
fn ipip<O: Ip, F: Frame, T: Tables>(frame: &mut F, inner: Inner<'_>, tables: &T) -> Option<()> {
    if !frame.push(size_of::<O>()) {
        return None;
    }
    let mut cursor = frame.cursor();
    ethernet::<O, _, _>(&mut cursor, inner, tables)?;
    *cursor.take::<O>()? = O::outer(&inner.outer(inner.protocol, inner.len));
    Some(())
}

/// In a UDP datagram.
#[inline(always)]
fn gue<O: Ip, F: Frame, T: Tables>(frame: &mut F, mut inner: Inner<'_>, tables: &T) -> Option<()> {
    // A packet whose own checksum does not tell its sum: a fragment, ICMP, a datagram without checksum.
    if O::V6 && inner.sum.is_none() && inner.len <= 4 * MOST_WORDS {
        inner.sum = Some(sum::of_bytes(frame, Eth::LEN, inner.len, MOST_WORDS));
    }
    // Twice the same code: the one without a name is to cost nothing for the other.
    match inner.second::<O, _>(tables) {
        None => datagram::<O, _, _>(frame, inner, None, tables),
        named => datagram::<O, _, _>(frame, inner, named, tables),
    }
}

/// The packet follows the UDP header at once, and its first bits tell its version; or it stands behind a header that
/// names another backend.
#[inline(always)]
fn datagram<O: Ip, F: Frame, T: Tables>(
    frame: &mut F,
    mut inner: Inner<'_>,
    named: Option<Address>,
    tables: &T,
) -> Option<()> {
    let between = named.map_or(0, |_| {
        size_of::<Gue>() + size_of::<Hop>() + size_of::<O::Address>()
    });
    if !frame.push(size_of::<O>() + size_of::<Udp>() + between) {
        return None;
    }
    let mut cursor = frame.cursor();
    ethernet::<O, _, _>(&mut cursor, inner, tables)?;
    let outer = inner.outer(UDP, inner.len + size_of::<Udp>() + between);
    let ip = cursor.take::<O>()?;
    *ip = O::outer(&outer);
    let udp = cursor.take::<Udp>()?;
    if let Some(address) = named {
        let added = name::<O, _>(&mut cursor, inner.protocol, &address)?;
        inner.sum = inner.sum.map(|sum| fold(u32::from(sum) + u32::from(added)));
    }
    *udp = inner.udp::<O>(&outer);
    Some(())
}

/// Writes the header that names another backend; what that adds to the datagram's sum.
#[inline(always)]
fn name<'p, O: Ip, C: Cursor<'p>>(cursor: &mut C, protocol: u8, address: &Address) -> Option<u16> {
    let (gue, hop) = (Gue::with_hop::<O>(protocol), Hop::new::<O>());
    *cursor.take::<Gue>()? = gue;
    *cursor.take::<Hop>()? = hop;
    if O::V6 {
        *cursor.take::<[u8; 16]>()? = address.0;
    } else {
        *cursor.take::<[u8; 4]>()? = address.v4();
    }
    let address = O::Address::from_table(address).sum();
    Some(fold(
        u32::from(gue.sum()) + u32::from(hop.sum()) + u32::from(address),
    ))
}

#[inline(always)]
fn ethernet<'p, O: Ip, C: Cursor<'p>, T: Tables>(
    cursor: &mut C,
    inner: Inner<'_>,
    tables: &T,
) -> Option<()> {
    let ether_type = if O::V6 { Eth::IPV6 } else { Eth::IPV4 };
    let eth = cursor.take::<Eth>()?;
    eth.ether_type = ether_type.to_ne_bytes();
    rewrite::leave_by(eth, inner.backend.next_hop, tables);
    Some(())
}

impl<'t> Inner<'t> {
    #[inline(always)]
    const fn outer(&self, carries: u8, len: usize) -> Outer<'t> {
        Outer {
            tunnel: transmute_ref!(self.backend),
            carries,
            len,
            class: self.class,
            entropy: self.entropy,
        }
    }

    /// The UDP header; its source port varies with the flow, within the dynamic ports (RFC 6335, §6).
    #[inline(always)]
    fn udp<O: Ip>(&self, outer: &Outer<'_>) -> Udp {
        let source = bits::low_word(0xc000 | outer.entropy >> 16 & 0x3fff);
        let ports = Ports {
            source: source.to_be_bytes(),
            destination: outer.tunnel.port,
        };
        let length = bits::length(outer.len);
        let checksum = match self.sum {
            Some(sum) if O::V6 => udp_checksum(sum, ports, length, outer),
            _ => 0,
        };
        Udp {
            ports,
            length: length.to_be_bytes(),
            checksum: checksum.to_ne_bytes(),
        }
    }
}

/// Words of four bytes that are summed at most: of a packet of 1,500 bytes.
const MOST_WORDS: usize = 375;

/// The checksum over IPv6 (RFC 8200, §8.1), from the sum of what the datagram carries. A longer packet than
/// is summed gets none, where its own checksum does not tell: RFC 6935 allows that to tunnels.
#[inline(always)]
fn udp_checksum(carried: u16, ports: Ports, length: u16, outer: &Outer<'_>) -> u16 {
    let sum = u32::from(carried)
        + u32::from(outer.tunnel.address_sum)
        + u32::from(outer.spread().to_be())
        + u32::from(u16::from(UDP).to_be())
        + 2 * u32::from(length.to_be())
        + u32::from(u16::from_ne_bytes(ports.source))
        + u32::from(u16::from_ne_bytes(ports.destination));
    match !fold((sum & 0xffff) + (sum >> 16)) {
        0 => 0xffff,
        checksum => checksum,
    }
}
