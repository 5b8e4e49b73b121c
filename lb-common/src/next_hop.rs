//! Where a frame goes next.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{bits, interface::Interface};

/// A neighbour's MAC address, the interface that leads to it, and whether it is the backend itself:
/// one word, so that a change of any of them is one store.
///
/// The MAC address is in the low 48 bits, as [`Macs`] gives addresses; above it 15 bits of interface
/// index; the highest bit is [`NextHop::ON_LINK`]. Zero: unresolved.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct NextHop(pub u64);

impl NextHop {
    /// The neighbour is not known.
    pub const UNRESOLVED: Self = Self(0);
    /// Largest index of an interface that a next hop can name.
    pub const MAX_IFINDEX: u32 = 0x7fff;
    /// The neighbour is the backend itself, so that the backend's packets bear its MAC address.
    pub const ON_LINK: u64 = 1 << 63;

    const IFINDEX_SHIFT: u32 = 48;

    /// By a neighbour behind an interface, whose index is at most [`Self::MAX_IFINDEX`] (its higher
    /// bits are lost).
    #[must_use]
    pub const fn new(mac: [u8; 6], ifindex: u32, on_link: bool) -> Self {
        let ifindex = ((ifindex & Self::MAX_IFINDEX) as u64) << Self::IFINDEX_SHIFT;
        Self(Interface::word(mac) | ifindex | if on_link { Self::ON_LINK } else { 0 })
    }

    /// Whether there is one.
    #[inline(always)]
    #[must_use]
    pub const fn is_resolved(self) -> bool {
        self.0 != 0
    }

    /// The neighbour's MAC address.
    #[inline(always)]
    #[must_use]
    pub const fn mac(self) -> u64 {
        self.0 & Interface::MAC
    }

    /// The index of the interface that leads to it.
    #[inline(always)]
    #[must_use]
    pub const fn ifindex(self) -> u32 {
        (self.0 >> Self::IFINDEX_SHIFT) as u32 & Self::MAX_IFINDEX
    }

    /// Whether it is the backend itself.
    #[inline(always)]
    #[must_use]
    pub const fn is_on_link(self) -> bool {
        self.0 & Self::ON_LINK != 0
    }
}

/// Destination and source MAC address, in the low 48 bits each: what [`Macs`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whom a frame is for.
    pub to: u64,
    /// Whom it is from.
    pub from: u64,
}

impl From<Link> for Macs {
    #[inline(always)]
    fn from(link: Link) -> Self {
        Self::new(link.to, link.from)
    }
}

/// Destination and source MAC address, in the order of the wire, as the two words that are loaded.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Macs {
    /// The destination and the first two bytes of the source.
    first: [u8; 8],
    /// The rest of the source.
    second: [u8; 4],
}

impl Macs {
    /// From two addresses in the low 48 bits each, as [`Self::destination`] and [`Self::source`] give
    /// them.
    #[inline(always)]
    #[must_use]
    pub const fn new(destination: u64, source: u64) -> Self {
        let first = destination & Interface::MAC | source << 48;
        Self {
            first: first.to_le_bytes(),
            second: bits::low_half(source >> 16).to_le_bytes(),
        }
    }

    /// To: the low 48 bits of a little-endian load of the bytes on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> u64 {
        u64::from_le_bytes(self.first) & Interface::MAC
    }

    /// From: likewise.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> u64 {
        u64::from_le_bytes(self.first) >> 48 | (u32::from_le_bytes(self.second) as u64) << 16
    }
}
