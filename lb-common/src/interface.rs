//! An interface the program is attached to: one word, in the map `INTERFACES` under its index.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// MAC address in the low 48 bits, as a little-endian load of the frame's first bytes gives it;
/// above it [`Interface::FROM_BACKENDS`] and the MTU. Zero: unknown. An interface that only sends is
/// there for its address and its MTU.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Interface(pub u64);

impl Interface {
    /// The bits of the MAC address.
    pub const MAC: u64 = (1 << 48) - 1;
    /// Role `backend` or `both`: replies of backends may come in here.
    pub const FROM_BACKENDS: u64 = 1 << 48;

    /// The largest MTU that is told from a larger one.
    pub const MAX_MTU: u16 = 0x7fff;

    const MTU_SHIFT: u32 = 49;

    /// An interface with this address and MTU.
    #[must_use]
    pub const fn new(mac: [u8; 6], mtu: u16, from_backends: bool) -> Self {
        let mtu = if mtu > Self::MAX_MTU {
            Self::MAX_MTU
        } else {
            mtu
        };
        let word = Self::word(mac) | (mtu as u64) << Self::MTU_SHIFT;
        Self(if from_backends {
            word | Self::FROM_BACKENDS
        } else {
            word
        })
    }

    /// A MAC address in the low 48 bits.
    pub(crate) const fn word(mac: [u8; 6]) -> u64 {
        let mut word = [0; 8];
        if let Some(low) = word.first_chunk_mut() {
            *low = mac;
        }
        u64::from_le_bytes(word)
    }

    /// Its address, as [`Macs`](crate::next_hop::Macs) gives addresses.
    #[inline(always)]
    #[must_use]
    pub const fn mac(self) -> u64 {
        self.0 & Self::MAC
    }

    /// Bytes of the longest IP packet that may leave here.
    #[inline(always)]
    #[must_use]
    pub const fn mtu(self) -> usize {
        (self.0 >> Self::MTU_SHIFT) as usize
    }

    /// Whether replies of backends may come in here.
    #[inline(always)]
    #[must_use]
    pub const fn from_backends(self) -> bool {
        self.0 & Self::FROM_BACKENDS != 0
    }
}
