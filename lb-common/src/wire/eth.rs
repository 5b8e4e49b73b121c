//! Ethernet (IEEE 802.3).

use network_types::eth::EtherType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{interface::Interface, next_hop::Macs};

/// The header of an Ethernet frame.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Eth {
    /// Destination and source address.
    pub macs: Macs,
    /// What the frame carries, network byte order.
    pub ether_type: [u8; 2],
}

impl Eth {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();
    /// EtherType of IPv4, as [`Self::ether_type`] gives it.
    pub const IPV4: u16 = EtherType::Ipv4 as u16;
    /// EtherType of IPv6, as [`Self::ether_type`] gives it.
    pub const IPV6: u16 = EtherType::Ipv6 as u16;

    /// What the frame carries: a native load of bytes in network order, like the constants.
    #[inline(always)]
    #[must_use]
    pub const fn ether_type(&self) -> u16 {
        u16::from_ne_bytes(self.ether_type)
    }

    /// The header of a frame back to the sender.
    #[inline(always)]
    #[must_use]
    pub const fn returned(&self) -> Self {
        Self {
            macs: Macs::new(self.macs.source(), self.macs.destination()),
            ether_type: self.ether_type,
        }
    }

    /// Whether the frame is addressed to this interface.
    #[inline(always)]
    #[must_use]
    pub const fn is_for(&self, interface: Interface) -> bool {
        self.macs.destination() == interface.mac()
    }
}
