//! An interface the program is attached to: one word, in the map `INTERFACES` under its index.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// MAC address in the low 48 bits, as a little-endian load of the frame's first bytes gives it;
/// above it [`Interface::FROM_BACKENDS`]. Zero: unknown. An interface that only sends is there for its
/// address.
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

    /// An interface with this address.
    #[must_use]
    pub const fn new(mac: [u8; 6], from_backends: bool) -> Self {
        let [a, b, c, d, e, f] = mac;
        let mac = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        Self(if from_backends {
            mac | Self::FROM_BACKENDS
        } else {
            mac
        })
    }

    /// Its address, as [`Macs`](crate::next_hop::Macs) gives addresses.
    #[inline(always)]
    #[must_use]
    pub const fn mac(self) -> u64 {
        self.0 & Self::MAC
    }

    /// Whether replies of backends may come in here.
    #[inline(always)]
    #[must_use]
    pub const fn from_backends(self) -> bool {
        self.0 & Self::FROM_BACKENDS != 0
    }
}
