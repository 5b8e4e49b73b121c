//! IPv6 (RFC 8200).

use network_types::ip::IpProto;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    Cursor, Ip, MAX_POSITION,
    ip::{self, Outer, Payload, Piece, Portless},
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

/// A fragment header (RFC 8200, §4.5).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Fragmented {
    next: u8,
    reserved: u8,
    /// Offset in units of eight bytes above three bits, the lowest of which says that more follow.
    offset_more: [u8; 2],
    identification: [u8; 4],
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

    /// What follows by the header's account.
    #[inline(always)]
    const fn declared(&self) -> Result<Payload, Portless> {
        let word = self.word();
        if u32::from_be_bytes(self.version_class_flow) >> 28 != 6 {
            return Err(Portless::Malformed);
        }
        Ok(Payload {
            protocol: bits::low_byte(word >> 8),
            len: (word >> 16) as usize,
        })
    }

    /// The same, all of which the frame has.
    #[inline(always)]
    fn whole<'p, C: Cursor<'p>>(&self, cursor: &C) -> Result<Payload, Portless> {
        let payload = self.declared()?;
        if payload.len > cursor.rest() {
            return Err(Portless::Malformed);
        }
        Ok(payload)
    }
}

impl Ip for Ipv6 {
    type Address = [u64; 2];

    #[inline(always)]
    fn payload<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless> {
        let payload = self.whole(cursor)?;
        if is_extension(payload.protocol) {
            Err(Portless::Extended)
        } else {
            Ok(payload)
        }
    }

    #[inline(always)]
    fn piece<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Piece, Portless> {
        find_fragment(self.whole(cursor)?, cursor)
    }

    #[inline(always)]
    fn quoted<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless> {
        match find_fragment(self.declared()?, cursor)? {
            Piece { later: true, .. } => Err(Portless::Fragment),
            Piece { payload, .. } => Ok(payload),
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
    fn has_no_options(&self) -> bool {
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
        let address = <[u64; 2] as ip::Address>::from_table;
        let [high, low] = address(&outer.tunnel.source);
        let low = low | u64::from(outer.spread()).to_be();
        Self {
            version_class_flow: (6 << 28 | u32::from(outer.class) << 20 | label).to_be_bytes(),
            length_next_hops: (carries | u32::from(Outer::HOPS)).to_be_bytes(),
            source: [high, low].map(u64::to_ne_bytes),
            destination: address(&outer.tunnel.destination).map(u64::to_ne_bytes),
        }
    }

    #[inline(always)]
    fn of_own(
        source: [u64; 2],
        destination: [u64; 2],
        (protocol, class): (u8, u8),
        len: usize,
    ) -> Self {
        let carries = u32::from(bits::length(len)) << 16 | u32::from(protocol) << 8;
        Self {
            version_class_flow: (6 << 28 | u32::from(class) << 20).to_be_bytes(),
            length_next_hops: (carries | u32::from(Outer::HOPS)).to_be_bytes(),
            source: source.map(u64::to_ne_bytes),
            destination: destination.map(u64::to_ne_bytes),
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

    #[inline(always)]
    fn set_hops(&mut self, hops: u8) {
        self.length_next_hops = (self.word() & !0xff | u32::from(hops)).to_be_bytes();
    }

    #[inline(always)]
    fn checksum(&self) -> u16 {
        0
    }
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
    const ROUTING: u8 = IpProto::Ipv6Route as u8;
    const DESTINATION: u8 = IpProto::Ipv6Opts as u8;
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;

/// Moves `cursor` behind the extension header that `payload` begins with.
#[inline(always)]
fn next_extension<'p, C: Cursor<'p>>(
    payload: Payload,
    cursor: &mut C,
) -> Result<Payload, Portless> {
    let extension = cursor.take::<Extension>().ok_or(Portless::Malformed)?;
    let more = extension.length as usize * 8;
    let len = size_of::<Extension>() + more;
    if len > payload.len {
        return Err(Portless::Malformed);
    }
    cursor.skip(more);
    Ok(Payload {
        protocol: extension.next,
        len: payload.len - len,
    })
}

/// Moves `cursor` behind extension headers, a fragment header (RFC 8200, §4.5) among them.
#[inline(always)]
fn find_fragment<'p, C: Cursor<'p>>(payload: Payload, cursor: &mut C) -> Result<Piece, Portless> {
    let mut piece = follow(payload, cursor)?;
    if cursor.position() > MAX_POSITION {
        return Err(Portless::ExtensionHeaders);
    }
    cursor.settle();
    piece.payload.len = bits::low_half(C::settled(piece.payload.len as u64)) as usize;
    Ok(piece)
}

#[inline(always)]
fn follow<'p, C: Cursor<'p>>(payload: Payload, cursor: &mut C) -> Result<Piece, Portless> {
    let mut piece = Piece {
        payload,
        identification: 0,
        protocol: payload.protocol,
        later: false,
        more: false,
    };
    for _ in 0..=MAX_EXTENSIONS {
        if !is_extension(piece.payload.protocol) {
            return Ok(piece);
        }
        if piece.payload.protocol != FRAGMENT {
            piece.payload = next_extension(piece.payload, cursor)?;
            continue;
        }
        let header = cursor.take::<Fragmented>().ok_or(Portless::Malformed)?;
        let offset_more = u16::from_be_bytes(header.offset_more);
        piece = Piece {
            payload: Payload {
                protocol: header.next,
                len: piece
                    .payload
                    .len
                    .checked_sub(size_of::<Fragmented>())
                    .ok_or(Portless::Malformed)?,
            },
            identification: u32::from_ne_bytes(header.identification),
            protocol: header.next,
            later: offset_more & !7 != 0,
            more: offset_more & 1 != 0,
        };
        if piece.later {
            return Ok(piece);
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

    #[inline(always)]
    fn first_bits(self, bits: u8) -> Self {
        let [high, low] = self;
        let rest = 128_u32.saturating_sub(bits.into());
        let mask = |rest: u32| u64::MAX.checked_shl(rest).unwrap_or(0).to_be();
        [high & mask(rest.saturating_sub(64)), low & mask(rest)]
    }

    /// No unicast address of a network begins with 64 zero bits (RFC 4291, §2.5).
    #[inline(always)]
    fn may_send(self) -> bool {
        let [high, _] = self;
        let [first, ..] = high.to_ne_bytes();
        high != 0 && first != 0xff
    }

    #[inline(always)]
    fn sum(self) -> u16 {
        let [high, low] = self;
        let quarters = [high, high >> 32, low, low >> 32].map(bits::low_half);
        let halves = quarters.map(|quarter| (quarter & 0xffff) + (quarter >> 16));
        fold(halves.iter().sum())
    }
}
