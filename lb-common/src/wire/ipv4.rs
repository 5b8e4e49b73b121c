//! IPv4 (RFC 791).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    Cursor, Ip, MAX_POSITION,
    ip::{self, Outer, Payload, Piece, Portless},
};
use crate::{
    address::Address,
    bits,
    checksum::{Delta, fold},
    directory::V4_PREFIX,
    hash,
};

/// The header without its options, as five words.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Ipv4 {
    /// Version and header length, type of service, total length.
    pub version_length: [u8; 4],
    /// Identification, flags and fragment offset.
    pub fragment: [u8; 4],
    /// Time to live, protocol, header checksum.
    pub ttl_protocol_checksum: [u8; 4],
    /// Sender.
    pub source: [u8; 4],
    /// Receiver.
    pub destination: [u8; 4],
}

impl Ipv4 {
    /// Bytes of the header without options.
    pub const LEN: usize = size_of::<Self>();

    /// Identification 0, as there are no fragments to be told apart (RFC 6864, §4.1), and the flag.
    pub const DO_NOT_FRAGMENT: [u8; 4] = [0, 0, 0x40, 0];

    /// More-fragments flag and fragment offset, as they lie in [`Self::fragment`].
    const IS_FRAGMENT: u32 = u32::from_ne_bytes([0, 0, 0x3f, 0xff]);
    /// The other parts of that word.
    const IDENTIFICATION: u32 = u32::from_ne_bytes([0xff, 0xff, 0, 0]);
    const OFFSET: u32 = u32::from_ne_bytes([0, 0, 0x1f, 0xff]);
    const MORE: u32 = u32::from_ne_bytes([0, 0, 0x20, 0]);
    /// What one hop less adds to the checksum: `~m + m'` with `m' = m - 0x0100`.
    const HOP: Delta = Delta(!u16::from_ne_bytes([1, 0]));

    #[inline(always)]
    const fn ttl_word(&self) -> u32 {
        u32::from_le_bytes(self.ttl_protocol_checksum)
    }

    /// Moves `cursor` behind the options of a packet, all of which the frame has.
    #[inline(always)]
    fn whole<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless> {
        if self.total_len().wrapping_sub(Self::LEN) > cursor.rest() {
            return Err(Portless::Malformed);
        }
        self.skip_options(cursor)
    }

    /// Moves `cursor` behind the options; `len` are the bytes behind the header, as far as it tells.
    #[inline(always)]
    fn skip_options<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless> {
        let word = u32::from_be_bytes(self.version_length);
        let total = (word & 0xffff) as usize;
        let header = (word >> 22 & 0x3c) as usize;
        if word >> 28 != 4 || header < Self::LEN || total < header {
            return Err(Portless::Malformed);
        }
        if header > Self::LEN {
            cursor.skip(header - Self::LEN);
        }
        Ok(Payload {
            protocol: bits::low_byte(self.ttl_word() >> 8),
            len: total - header,
        })
    }
}

impl Ip for Ipv4 {
    type Address = u32;

    #[inline(always)]
    fn payload<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless> {
        let payload = self.whole(cursor)?;
        if u32::from_ne_bytes(self.fragment) & Self::IS_FRAGMENT != 0 {
            return Err(Portless::Fragment);
        }
        Ok(payload)
    }

    #[inline(always)]
    fn plain_payload<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless> {
        if !self.has_no_options() {
            return Err(Portless::Extended);
        }
        let len = self.total_len().wrapping_sub(Self::LEN);
        if len > cursor.rest() {
            return Err(Portless::Malformed);
        }
        if u32::from_ne_bytes(self.fragment) & Self::IS_FRAGMENT != 0 {
            return Err(Portless::Fragment);
        }
        Ok(Payload {
            protocol: bits::low_byte(self.ttl_word() >> 8),
            len,
        })
    }

    #[inline(always)]
    fn piece<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Piece, Portless> {
        let payload = self.whole(cursor)?;
        cursor.settle();
        let fragment = u32::from_ne_bytes(self.fragment);
        Ok(Piece {
            payload,
            identification: fragment & Self::IDENTIFICATION,
            protocol: payload.protocol,
            later: fragment & Self::OFFSET != 0,
            more: fragment & Self::MORE != 0,
        })
    }

    #[inline(always)]
    fn quoted<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless> {
        let payload = self.skip_options(cursor)?;
        if cursor.position() > MAX_POSITION {
            return Err(Portless::Malformed);
        }
        cursor.settle();
        if u32::from_ne_bytes(self.fragment) & Self::OFFSET != 0 {
            return Err(Portless::Fragment);
        }
        Ok(payload)
    }

    #[inline(always)]
    fn source(&self) -> u32 {
        u32::from_ne_bytes(self.source)
    }

    #[inline(always)]
    fn destination(&self) -> u32 {
        u32::from_ne_bytes(self.destination)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        let words: [u32; 5] = zerocopy::transmute!(*self);
        let halves = words.map(|word| (word & 0xffff) + (word >> 16));
        let is_right = fold(halves.iter().sum()) == 0xffff;
        is_right && self.has_no_options()
    }

    #[inline(always)]
    fn has_no_options(&self) -> bool {
        const VERSION_LENGTH: u32 = 0x45;
        u32::from_be_bytes(self.version_length) >> 24 == VERSION_LENGTH
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        bits::low_byte(self.ttl_word())
    }

    #[inline(always)]
    fn total_len(&self) -> usize {
        (u32::from_be_bytes(self.version_length) & 0xffff) as usize
    }

    #[inline(always)]
    fn class(&self) -> u8 {
        bits::low_byte(u32::from_be_bytes(self.version_length) >> 16)
    }

    #[inline(always)]
    fn packet_sum(&self, protocol: u8, len: usize) -> u16 {
        let halves = |word: u32| (word & 0xffff) + (word >> 16);
        let pseudo = halves(self.source())
            + halves(self.destination())
            + u32::from(u16::from(protocol).to_be())
            + u32::from(bits::length(len).to_be());
        !fold(halves(pseudo))
    }

    #[inline(always)]
    fn outer(outer: &Outer<'_>) -> Self {
        let len = bits::length(Self::LEN + outer.len);
        let spread = outer.spread().to_be();
        let sum = u32::from(outer.tunnel.header_sum)
            + u32::from(u16::from(outer.class).to_be())
            + u32::from(len.to_be())
            + u32::from(spread);
        let checksum = !fold(sum);
        let hops_carries = u16::from_ne_bytes([Outer::HOPS, outer.carries]);
        let source = u32::from_ne_bytes(outer.tunnel.source.v4());
        Self {
            version_length: (0x4500_0000 | u32::from(outer.class) << 16 | u32::from(len))
                .to_be_bytes(),
            fragment: Self::DO_NOT_FRAGMENT,
            ttl_protocol_checksum: (u32::from(hops_carries.to_le())
                | u32::from(checksum.to_le()) << 16)
                .to_le_bytes(),
            source: (source | u32::from(outer.spread()).to_be()).to_ne_bytes(),
            destination: outer.tunnel.destination.v4(),
        }
    }

    #[inline(always)]
    fn of_own(source: u32, destination: u32, (protocol, class): (u8, u8), len: usize) -> Self {
        let hops_carries = [Outer::HOPS, protocol];
        let word = 0x4500_0000 | u32::from(class) << 16 | u32::from(bits::length(Self::LEN + len));
        let halves = |word: u32| (word & 0xffff) + (word >> 16);
        let sum = halves(word.to_be())
            + halves(u32::from_ne_bytes(Self::DO_NOT_FRAGMENT))
            + u32::from(u16::from_ne_bytes(hops_carries))
            + halves(source)
            + halves(destination);
        let [hops, carries] = hops_carries;
        let [high, low] = (!fold(halves(sum))).to_ne_bytes();
        Self {
            version_length: word.to_be_bytes(),
            fragment: Self::DO_NOT_FRAGMENT,
            ttl_protocol_checksum: [hops, carries, high, low],
            source: source.to_ne_bytes(),
            destination: destination.to_ne_bytes(),
        }
    }

    #[inline(always)]
    fn set_class(&mut self, class: u8) {
        let old = u32::from_be_bytes(self.version_length);
        let new = old & 0xff00_ffff | u32::from(class) << 16;
        self.version_length = new.to_be_bytes();
        let [old, new] = [old, new].map(|word| u32::from(bits::low_word(word >> 16).to_be()));
        self.update_checksum(Delta(fold((!old & 0xffff) + new)));
    }

    #[inline(always)]
    fn set_source(&mut self, address: u32) {
        self.source = address.to_ne_bytes();
    }

    #[inline(always)]
    fn set_destination(&mut self, address: u32) {
        self.destination = address.to_ne_bytes();
    }

    #[inline(always)]
    fn update_checksum(&mut self, delta: Delta) {
        let word = self.ttl_word();
        let checksum = delta.update((word >> 16) as u16);
        self.ttl_protocol_checksum = (word & 0xffff | u32::from(checksum) << 16).to_le_bytes();
    }

    #[inline(always)]
    fn spend_hop(&mut self, delta: Delta) {
        let word = self.ttl_word();
        let checksum = delta.update_with(Self::HOP, (word >> 16) as u16);
        self.ttl_protocol_checksum =
            ((word & 0xffff).wrapping_sub(1) | u32::from(checksum) << 16).to_le_bytes();
    }

    #[inline(always)]
    fn set_hops(&mut self, hops: u8) {
        let [old, protocol, ..] = self.ttl_protocol_checksum;
        let [old, new] = [old, hops].map(|hops| u16::from_ne_bytes([hops, protocol]));
        self.update_checksum(Delta::between(old, new));
        let word = self.ttl_word() & !0xff | u32::from(hops);
        self.ttl_protocol_checksum = word.to_le_bytes();
    }

    #[inline(always)]
    fn checksum(&self) -> u16 {
        let [_, _, a, b] = self.ttl_protocol_checksum;
        u16::from_ne_bytes([a, b])
    }
}

impl ip::Address for u32 {
    const V6: bool = false;

    #[inline(always)]
    fn from_table(address: &Address) -> Self {
        Self::from_ne_bytes(address.v4())
    }

    #[inline(always)]
    fn to_table(self) -> Address {
        // By eight bytes: the verifier refuses stores to the stack that are not aligned.
        let low = u64::from_le(u64::from(self.to_le()) << 32 | 0xffff_0000);
        Address(zerocopy::transmute!([0, low]))
    }

    #[inline(always)]
    fn directory_words(self) -> ([u32; 3], u32) {
        (V4_PREFIX, self)
    }

    #[inline(always)]
    fn mix(source: Self, destination: Self, key: u64) -> u64 {
        hash::mix((u64::from(source.to_le()) | u64::from(destination.to_le()) << 32) ^ key)
    }

    #[inline(always)]
    fn within(self, prefix: Self, mask: Self) -> bool {
        self & mask == prefix
    }

    #[inline(always)]
    fn first_bits(self, bits: u8) -> Self {
        let rest = 32_u32.saturating_sub(bits.into());
        self & Self::MAX.checked_shl(rest).unwrap_or(0).to_be()
    }

    #[inline(always)]
    fn may_send(self) -> bool {
        let [first, ..] = self.to_ne_bytes();
        first.wrapping_sub(1) < 223 && first != 127
    }

    #[inline(always)]
    fn sum(self) -> u16 {
        fold((self & 0xffff) + (self >> 16))
    }
}
