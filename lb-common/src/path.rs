//! What routers said of the paths to tunnels' ends: the map `PATHS`.
//!
//! A path is a tunnel's destination and kind ([`Kind::Tunnel`](crate::directory::Kind::Tunnel) in the
//! directory names its index), shared by all backends that are reached through it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest packet that a router let through, before it is encapsulated, and when it said so: one
/// word. Written by the data path, made longer again by the daemon (RFC 1191, §6.3).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Path(pub u64);

impl Path {
    /// Nothing is known: the way is as long as the backend's entry says.
    pub const UNKNOWN: Self = Self(0);

    /// Packets of up to `mtu` bytes, learned at a time of [`Control::clock`](crate::maps::Control).
    #[inline(always)]
    #[must_use]
    pub const fn new(mtu: u16, clock: u32) -> Self {
        Self(mtu as u64 | (clock as u64) << 32)
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
