//! Where a frame goes next: the map `NEXT_HOPS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::interface::Interface;

/// An immutable entry: a change of address takes a fresh index, and one store switches to it.
/// Entry 0 is never used: index 0 says *unresolved*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct NextHop {
    /// The neighbour's and our own MAC address, as they stand at the head of the frame.
    pub macs: Macs,
    /// The interface it leaves by.
    pub ifindex: u32,
}

const _: () = assert!(size_of::<NextHop>() == 16);

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
    /// From two addresses.
    #[must_use]
    pub const fn new(destination: [u8; 6], source: [u8; 6]) -> Self {
        let ([a, b, c, d, e, f], [g, h, second @ ..]) = (destination, source);
        Self {
            first: [a, b, c, d, e, f, g, h],
            second,
        }
    }

    /// From two addresses in the low 48 bits each, as [`Self::destination`] and [`Self::source`] give
    /// them.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(destination: u64, source: u64) -> Self {
        let first = destination & Interface::MAC | source << 48;
        Self {
            first: first.to_le_bytes(),
            second: ((source >> 16) as u32).to_le_bytes(),
        }
    }

    /// To: the low 48 bits, in little-endian order of the bytes on the wire.
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
