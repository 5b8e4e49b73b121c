//! What routers said of the paths to tunnels' ends: the map `PATHS`.
//!
//! A path is a tunnel's destination and kind ([`Kind::Tunnel`](crate::directory::Kind::Tunnel) in the
//! directory names its index), shared by all backends that are reached through it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest packet that a router let through, before it is encapsulated, and when it said so; and how often
/// it was said that a packet could not be delivered: one word. Written by the data path, made longer again by the
/// daemon (RFC 1191, §6.3).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Path(pub u64);

impl Path {
    /// Nothing is known: the way is as long as the backend's entry says.
    pub const UNKNOWN: Self = Self(0);

    const REFUSAL: u64 = 1 << 16;
    const REFUSALS: u64 = 0xffff << 16;

    /// Packets of up to `mtu` bytes, learned at a time of [`Control::clock`](crate::maps::Control).
    #[inline(always)]
    #[must_use]
    pub const fn new(mtu: u16, clock: u32) -> Self {
        Self(mtu as u64 | (clock as u64) << 32)
    }

    /// The same, with this MTU learned at this time.
    #[inline(always)]
    #[must_use]
    pub const fn learning(self, mtu: u16, clock: u32) -> Self {
        Self(Self::new(mtu, clock).0 | self.0 & Self::REFUSALS)
    }

    /// The same, where another packet could not be delivered.
    #[inline(always)]
    #[must_use]
    pub const fn refusing(self) -> Self {
        let refusals = self.0.wrapping_add(Self::REFUSAL) & Self::REFUSALS;
        Self(self.0 & !Self::REFUSALS | refusals)
    }

    /// Packets that could not be delivered, of which some may not be counted; modulo 2¹⁶.
    #[must_use]
    pub const fn refusals(self) -> u16 {
        (self.0 >> 16 & 0xffff) as u16
    }

    /// Bytes of the longest packet; 0: not known.
    #[inline(always)]
    #[must_use]
    pub const fn mtu(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// When that was learned.
    #[must_use]
    pub const fn learned(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtu_and_refusals_are_apart() {
        let path = Path::new(1400, 77).refusing().refusing();
        assert_eq!((path.mtu(), path.learned(), path.refusals()), (1400, 77, 2));
        let path = path.learning(1300, 78);
        assert_eq!((path.mtu(), path.learned(), path.refusals()), (1300, 78, 2));
        let full = Path(Path::new(9, 9).0 | Path::REFUSALS).refusing();
        assert_eq!(full, Path::new(9, 9));
    }
}
