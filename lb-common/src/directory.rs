//! Services, NAT backends and addresses in one set-associative array: the map `DIRECTORY`.
//!
//! Two halves of `sets` sets of [`WAYS`] ways each. A [`Seed`] in one control word names the half
//! and spreads the entries: a set that would overflow makes the daemon fill the other half with
//! another seed and flip. A look-up reads one set and compares words; a BPF hash map costs 25 ns
//! more.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{address::Address, bits};

/// Entries of one set.
pub const WAYS: usize = 4;

/// Entries that share a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Set {
    /// Free ways have the tag 0.
    pub ways: [Way; WAYS],
}

const _: () = assert!(size_of::<Set>() == 128);

/// One entry. `tag` is written last on the way in and cleared first on the way out, so that a reader
/// never sees half of one; `value` is one store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Way {
    /// [`Key::tag`]; 0: free.
    pub tag: u64,
    /// [`Table`] of a service in the low half and its extent in the high half; pair index of a
    /// backend; [`VIP`], [`LOCAL`] and [`POOL`] of an address.
    pub value: u64,
    /// [`Key::rest`]: the address' first twelve bytes.
    pub rest: [u32; 3],
    /// Free for later use; zero.
    pub reserved: u32,
}

/// Value of an address: a service listens there.
pub const VIP: u64 = 1;
/// Value of an address: it is one of this host's.
pub const LOCAL: u64 = 2;
/// Value of an address: full NAT gives it to flows as their source.
pub const POOL: u64 = 4;

/// What an entry is about; part of its tag. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A service: found by a packet's destination.
    Service = 1,
    /// A NAT backend of a service: found by a packet's source.
    Backend = 2,
    /// An address that is a VIP, or this host's, or a pool's, or several of these. Port and protocol
    /// are 0.
    Address = 3,
    /// Services on several ports of an address: element of `RANGES`. The port is 0.
    Ranges = 4,
    /// NAT backends of such services: likewise, found by a packet's source.
    BackendRanges = 5,
    /// A tunnel's far end, found by what a router's error quotes: index in `PATHS`. The port is 0, the
    /// protocol UDP for [`Mode::Gue`](crate::backend::Mode::Gue), else 0.
    Tunnel = 6,
}

/// What an entry is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind, protocol and port, and the last 32 bits of the address mixed with the others.
    pub tag: u64,
    /// The address' first twelve bytes as stored; compared for IPv6 only.
    pub rest: [u32; 3],
}

impl Key {
    /// The key of an address, port (host byte order) and IP protocol number.
    #[must_use]
    pub fn new(kind: Kind, address: Address, port: u16, protocol: u8) -> Self {
        Self::from_wire(kind, address, port.to_be_bytes(), protocol)
    }

    /// The same with the port in network byte order.
    #[must_use]
    pub fn from_wire(kind: Kind, address: Address, port: [u8; 2], protocol: u8) -> Self {
        let (words, last) = split(address);
        let v6 = words != V4_PREFIX;
        let last = if v6 { last ^ fold(words) } else { last };
        Self {
            tag: tag(kind, last, port, protocol, v6),
            rest: words,
        }
    }
}

/// The first twelve bytes of a mapped IPv4 address, as words.
pub const V4_PREFIX: [u32; 3] = [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff])];

fn split(address: Address) -> ([u32; 3], u32) {
    let word = |i: usize| {
        let [a, b, c, d] = core::array::from_fn(|k| address.0.get(i + k).copied().unwrap_or(0));
        u32::from_ne_bytes([a, b, c, d])
    };
    ([word(0), word(4), word(8)], word(12))
}

/// Spreads the first 96 bits of an IPv6 address over the last 32, so that addresses that end alike
/// do not share a tag. Together with [`Key::rest`] nothing is lost.
#[inline(always)]
#[must_use]
pub const fn fold(words: [u32; 3]) -> u32 {
    let [a, b, c] = words;
    let mixed = (a as u64 ^ (b as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (c as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    bits::low_half(mixed ^ mixed >> 32)
}

/// Puts a tag together. `last` and `port` are as they lie on the wire. What differs least is lowest: a
/// multiplication carries differences upwards, and the set is named by the product's top bits.
#[inline(always)]
#[must_use]
pub const fn tag(kind: Kind, last: u32, port: [u8; 2], protocol: u8, v6: bool) -> u64 {
    let kind = kind as u64 | (v6 as u64) << 7;
    kind | (protocol as u64) << 8 | (u16::from_ne_bytes(port) as u64) << 16 | (last as u64) << 32
}

/// The control word of the directory: what makes the multiplier that spreads entries over sets, and
/// in its top bit the half in use. The zero of a fresh map is a seed like another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    const HALF: u64 = 1 << 63;
    /// 2⁶⁴ over the golden ratio, odd.
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Seeds the first half (`half` 0) or the second (1). Entries that collide under one seed part
    /// under another: the whole multiplier differs.
    #[must_use]
    pub const fn new(seed: u32, half: u32) -> Self {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        let mixed = (seed as u64)
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Bit 0 stays clear, so that the multiplier stays odd and loses nothing.
        let word = (mixed ^ mixed >> 31) & !(Self::HALF | 1);
        Self(if half == 0 { word } else { word | Self::HALF })
    }

    /// Index in `DIRECTORY` of the set that holds `tag`; `set_shift` is 64 less the logarithm of the
    /// sets of one half, of which there are at least two.
    #[inline(always)]
    #[must_use]
    pub const fn set(self, tag: u64, set_shift: u32) -> u32 {
        let product = tag.wrapping_mul(self.0 ^ Self::MULTIPLIER);
        bits::low_half(product.wrapping_shr(set_shift))
            + self.half().wrapping_shl(u64::BITS - set_shift)
    }

    /// The half in use: 0 or 1.
    #[inline(always)]
    #[must_use]
    pub const fn half(self) -> u32 {
        (self.0 >> 63) as u32
    }
}

/// The control word that names the way of one service, with a mark of its key: all packets of other services but
/// a few are told apart before the way is read. A hint: the way is compared with the key in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Front(pub u64);

impl Front {
    /// Names way number `way`, counted from the map's beginning, which has this tag.
    #[must_use]
    pub const fn new(way: u32, tag: u64) -> Self {
        Self(way as u64 | Self::mark(tag) << 32)
    }

    /// The number of the way, where its tag may be this one.
    #[inline(always)]
    #[must_use]
    pub const fn way(self, tag: u64) -> Option<u32> {
        if self.0 >> 32 != Self::mark(tag) {
            return None;
        }
        Some(bits::low_half(self.0))
    }

    /// Both halves of a tag in one.
    #[inline(always)]
    const fn mark(tag: u64) -> u64 {
        bits::low_half(tag ^ tag >> 32) as u64
    }
}

/// Which addresses the directory may hold: a Bloom filter with one hash and 4,096 bits, eight cache lines.
/// Packets that are not for a VIP are spared two look-ups, clients one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Filter(pub [u64; Self::WORDS]);

impl Filter {
    /// Words of 64 bits.
    pub const WORDS: usize = 64;

    /// The filter that lets this address' key ([`Kind::Address`]) through as well.
    #[must_use]
    pub fn with(mut self, key: &Key) -> Self {
        if let Some(word) = self.0.get_mut(Self::word(key.tag)) {
            *word |= Self::bit(key.tag);
        }
        self
    }

    /// Whether the directory may hold an address; `false` is certain.
    #[inline(always)]
    #[must_use]
    pub fn may_hold(&self, tag: u64) -> bool {
        let word = self.0.get(Self::word(tag));
        word.is_some_and(|word| word & Self::bit(tag) != 0)
    }

    /// The top bits of the hash, below [`Self::WORDS`].
    #[inline(always)]
    const fn word(tag: u64) -> usize {
        (tag.wrapping_mul(Seed::MULTIPLIER) >> 58) as usize
    }

    /// By the next bits of the hash.
    #[inline(always)]
    const fn bit(tag: u64) -> u64 {
        1 << (tag.wrapping_mul(Seed::MULTIPLIER) >> 52 & 63)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self([0; Self::WORDS])
    }
}

/// A service's slot table: where its rows lie in `SLOTS`, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(pub u32);

impl Table {
    const SHIFT_BITS: u32 = 6;
    const SHIFT: u32 = (1 << Self::SHIFT_BITS) - 1;

    /// A table of `1 << log2` slots (at least one element of `SLOTS`) that begins at `element`,
    /// which is below 2²⁶.
    #[must_use]
    pub const fn new(element: u32, log2: u32) -> Self {
        Self(element << Self::SHIFT_BITS | (u64::BITS - log2) & Self::SHIFT)
    }

    /// Its first element in `SLOTS`.
    #[inline(always)]
    #[must_use]
    pub const fn element(self) -> u32 {
        self.0 >> Self::SHIFT_BITS
    }

    /// The slot of a flow: the top bits of its hash.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self, hash: u64) -> u32 {
        bits::low_half(hash.wrapping_shr(self.0))
    }

    /// Logarithm of the number of slots.
    #[must_use]
    pub const fn log2(self) -> u32 {
        u64::BITS - (self.0 & Self::SHIFT)
    }

    /// Slots.
    #[must_use]
    pub const fn slots(self) -> u32 {
        1 << self.log2()
    }
}

impl Set {
    /// The value under a key; `v6` says whether the tag leaves part of the address to compare.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, key: &Key, v6: bool) -> Option<u64> {
        let [a, b, c, d] = &self.ways;
        for way in [a, b, c, d] {
            if way.is(key, v6) {
                return Some(way.value);
            }
        }
        None
    }
}

impl Way {
    /// Whether this is the entry of a key; `v6` as in [`Set::find`].
    #[inline(always)]
    #[must_use]
    pub fn is(&self, key: &Key, v6: bool) -> bool {
        self.tag == key.tag && (!v6 || self.rest == key.rest)
    }

    /// The value of a service: its table, and the index of its extent's header in `BACKENDS`.
    #[must_use]
    pub const fn service(table: Table, extent: u32) -> u64 {
        table.0 as u64 | (extent as u64) << 32
    }

    /// The slot table of a service.
    #[inline(always)]
    #[must_use]
    pub const fn table(value: u64) -> Table {
        Table(bits::low_half(value))
    }

    /// The index of a service's header in `BACKENDS`.
    #[inline(always)]
    #[must_use]
    pub const fn extent(value: u64) -> u32 {
        (value >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    #[test]
    fn keys_tell_kind_family_port_and_protocol_apart() {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        let v4 = address("192.0.2.1");
        let base = Key::new(Kind::Service, v4, 80, 6);
        let others = [
            Key::new(Kind::Backend, v4, 80, 6),
            Key::new(Kind::Service, v4, 81, 6),
            Key::new(Kind::Service, v4, 80, 17),
            Key::new(Kind::Service, address("192.0.2.2"), 80, 6),
            Key::new(Kind::Service, address("2001:db8::c000:201"), 80, 6),
        ];
        for other in others {
            assert_ne!(base, other);
            assert_ne!(base.tag, 0);
        }
    }

    #[test]
    fn addresses_that_end_alike_have_tags_of_their_own() {
        let tags: std::collections::HashSet<u64> = (0..1000u16)
            .map(|i| {
                let mut bytes = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
                bytes[4..6].copy_from_slice(&i.to_be_bytes());
                Key::new(Kind::Service, Address(bytes), 80, 6).tag
            })
            .collect();
        assert!(tags.len() > 995, "{}", tags.len());
    }
}
