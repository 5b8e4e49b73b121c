//! IPv6 (RFC 8200).

use network_types::ip::IpProto;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    Cursor, Ip,
    ip::{self, Outer, Payload, Portless},
};
use crate::{
    address::Address,
    bits,
    checksum::{Delta, fold},
    directory, hash,
};

/// The header without extension headers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Ipv6 {
    /// Version, traffic class, flow label.
    pub version_class_flow: [u8; 4],
    /// Payload length, next header, hop limit.
    pub length_next_hops: [u8; 4],
    /// Sender.
    pub source: [[u8; 8]; 2],
    /// Receiver.
    pub destination: [[u8; 8]; 2],
}

/// The beginning of a hop-by-hop, destination or routing header (RFC 8200, §4.3 to §4.6), and of a
/// fragment header, which has no length.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Extension {
    next: u8,
    /// In units of eight bytes, the first eight not counted.
    length: u8,
    rest: [u8; 6],
}

/// Extension headers that are followed: RFC 8200 §4.1 names four before the transport header.
const MAX_EXTENSIONS: usize = 4;

impl Ipv6 {
    /// Bytes of the header without extension headers.
    pub const LEN: usize = size_of::<Self>();

    #[inline(always)]
    const fn word(&self) -> u32 {
        u32::from_be_bytes(self.length_next_hops)
    }
}

impl Ip for Ipv6 {
    type Address = [u64; 2];

    #[inline(always)]
    fn payload<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless> {
        let word = self.word();
        let payload = Payload {
            protocol: bits::low_byte(word >> 8),
            len: (word >> 16) as usize,
        };
        let version = u32::from_be_bytes(self.version_class_flow) >> 28;
        if version != 6 || payload.len > cursor.rest() {
            return Err(Portless::Malformed);
        }
        if is_extension(payload.protocol) {
            skip_extensions(payload, cursor)
        } else {
            Ok(payload)
        }
    }

    #[inline(always)]
    fn source(&self) -> [u64; 2] {
        self.source.map(u64::from_ne_bytes)
    }

    #[inline(always)]
    fn destination(&self) -> [u64; 2] {
        self.destination.map(u64::from_ne_bytes)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        true
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        bits::low_byte(self.word())
    }

    #[inline(always)]
    fn total_len(&self) -> usize {
        Self::LEN + (self.word() >> 16) as usize
    }

    #[inline(always)]
    fn class(&self) -> u8 {
        bits::low_byte(u32::from_be_bytes(self.version_class_flow) >> 20)
    }

    /// The addresses are in the header and in the pseudo-header.
    #[inline(always)]
    fn packet_sum(&self, protocol: u8, len: usize) -> u16 {
        let halves = |word: u32| (word & 0xffff) + (word >> 16);
        let header = halves(u32::from_ne_bytes(self.version_class_flow))
            + halves(u32::from_ne_bytes(self.length_next_hops));
        let pseudo = u32::from(u16::from(protocol).to_be()) + u32::from(bits::length(len).to_be());
        fold(u32::from(fold(halves(header))) + u32::from(!fold(pseudo)))
    }

    #[inline(always)]
    fn outer(outer: &Outer<'_>) -> Self {
        let label = outer.entropy & 0xf_ffff;
        let carries = u32::from(bits::length(outer.len)) << 16 | u32::from(outer.carries) << 8;
        let [high, low] = <[u64; 2] as ip::Address>::from_table(&outer.tunnel.source);
        let low = low | u64::from(outer.spread()).to_be();
        Self {
            version_class_flow: (6 << 28 | u32::from(outer.class) << 20 | label).to_be_bytes(),
            length_next_hops: (carries | u32::from(Outer::HOPS)).to_be_bytes(),
            source: [high, low].map(u64::to_ne_bytes),
            destination: zerocopy::transmute!(outer.tunnel.destination.0),
        }
    }

    #[inline(always)]
    fn set_class(&mut self, class: u8) {
        let word = u32::from_be_bytes(self.version_class_flow);
        let word = word & 0xf00f_ffff | u32::from(class) << 20;
        self.version_class_flow = word.to_be_bytes();
    }

    #[inline(always)]
    fn set_source(&mut self, address: [u64; 2]) {
        self.source = address.map(u64::to_ne_bytes);
    }

    #[inline(always)]
    fn set_destination(&mut self, address: [u64; 2]) {
        self.destination = address.map(u64::to_ne_bytes);
    }

    #[inline(always)]
    fn update_checksum(&mut self, _: Delta) {}

    #[inline(always)]
    fn spend_hop(&mut self, _: Delta) {
        self.length_next_hops = self.word().wrapping_sub(1).to_be_bytes();
    }
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
    const ROUTING: u8 = IpProto::Ipv6Route as u8;
    const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
    const DESTINATION: u8 = IpProto::Ipv6Opts as u8;
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

#[inline(always)]
fn skip_extensions<'p, C: Cursor<'p>>(
    mut payload: Payload,
    cursor: &mut C,
) -> Result<Payload, Portless> {
    for _ in 0..MAX_EXTENSIONS {
        if payload.protocol == IpProto::Ipv6Frag as u8 {
            return Err(Portless::Fragment);
        }
        let extension = cursor.take::<Extension>().ok_or(Portless::Malformed)?;
        let more = extension.length as usize * 8;
        let len = size_of::<Extension>() + more;
        if len > payload.len {
            return Err(Portless::Malformed);
        }
        cursor.skip(more);
        payload = Payload {
            protocol: extension.next,
            len: payload.len - len,
        };
        if !is_extension(payload.protocol) {
            return Ok(payload);
        }
    }
    Err(Portless::ExtensionHeaders)
}

impl ip::Address for [u64; 2] {
    const V6: bool = true;

    #[inline(always)]
    fn from_table(address: &Address) -> Self {
        let halves: [[u8; 8]; 2] = zerocopy::transmute!(address.0);
        halves.map(u64::from_ne_bytes)
    }

    #[inline(always)]
    fn to_table(self) -> Address {
        Address(zerocopy::transmute!(self))
    }

    #[inline(always)]
    fn directory_words(self) -> ([u32; 3], u32) {
        let [high, low] = self.map(u64::to_le);
        let words = [high, high >> 32, low].map(|word| u32::from_le(bits::low_half(word)));
        (words, ((low >> 32) as u32).to_le() ^ directory::fold(words))
    }

    #[inline(always)]
    fn mix(source: Self, destination: Self, key: u64) -> u64 {
        let ([a, b], [c, d]) = (source, destination);
        hash::mix4([a, b, c, d].map(u64::to_le), key)
    }

    #[inline(always)]
    fn within(self, prefix: Self, mask: Self) -> bool {
        let [high, low] = self;
        let [mask_high, mask_low] = mask;
        let [prefix_high, prefix_low] = prefix;
        high & mask_high == prefix_high && low & mask_low == prefix_low
    }
}
