//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are formed of native-endian words: the sum of swapped words is the swapped sum (RFC 1071,
//! §2(B)), so that nothing is ever swapped.

/// What a change of header fields adds to the sum under a checksum, folded to 16 bits.
///
/// RFC 1624, eqn. 3: `HC' = ~(~HC + ~m + m')`. The part `~m + m'` depends on the old and the new
/// bytes only, and is kept with the backend: an update costs the same for IPv4 and IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta(pub u16);

impl Delta {
    /// Nothing changes.
    pub const NONE: Self = Self(0);

    /// The change of `old` to `new`, which begin at an even offset and are of one length.
    #[must_use]
    pub fn of(old: &[u8], new: &[u8]) -> Self {
        Self(fold(u32::from(!sum(old)) + u32::from(sum(new))))
    }

    /// The change of one 16-bit word, or of one sum of words, to another.
    #[inline(always)]
    #[must_use]
    pub const fn between(old: u16, new: u16) -> Self {
        Self(fold(!old as u32 + new as u32))
    }

    /// This change and another one.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(fold(self.0 as u32 + other.0 as u32))
    }

    /// The change back.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self(!self.0)
    }

    /// The checksum (as it lies in memory) after the change.
    ///
    /// A checksum that a sender formed over anything but zeros is never `0xffff`, and neither is
    /// what this makes of it, so that the result equals one formed afresh.
    #[inline(always)]
    #[must_use]
    pub const fn update(self, checksum: u16) -> u16 {
        self.update_with(Self::NONE, checksum)
    }

    /// The same after two changes at once.
    #[inline(always)]
    #[must_use]
    pub const fn update_with(self, other: Self, checksum: u16) -> u16 {
        !fold(!checksum as u32 + self.0 as u32 + other.0 as u32)
    }
}

/// The one's complement sum of native-endian 16-bit words; an odd last byte is padded with zero.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let total = bytes.chunks(2).fold(0u64, |total, pair| {
        let word = match *pair {
            [a, b] => u16::from_ne_bytes([a, b]),
            [a] => u16::from_ne_bytes([a, 0]),
            _ => 0,
        };
        total.wrapping_add(u64::from(word))
    });
    let halved = (total & 0xffff_ffff).wrapping_add(total >> 32);
    fold((halved & 0xffff).wrapping_add(halved >> 16) as u32)
}

/// Brings a sum of 16-bit words back to 16 bits: the sum of both halves, in the upper half, takes its
/// carry from the same sum in the lower half.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}
