//! VLAN tags (IEEE 802.1Q): one, or a service tag and a customer tag (`QinQ`).

use network_types::eth::EtherType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Eth;

/// What follows the EtherType that announces a tag.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Tag {
    /// Priority, drop eligibility and VLAN identifier.
    pub control: [u8; 2],
    /// What the frame carries behind the tag, network byte order.
    pub ether_type: [u8; 2],
}

/// Whether an EtherType, as [`Eth::ether_type`] gives it, announces a tag.
#[inline(always)]
#[must_use]
pub const fn is_tag(ether_type: u16) -> bool {
    const CUSTOMER: u16 = EtherType::Ieee8021q as u16;
    const SERVICE: u16 = EtherType::Ieee8021ad as u16;
    matches!(ether_type, CUSTOMER | SERVICE)
}

/// An Ethernet header and the tag behind it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Tagged {
    /// The header, whose EtherType announces the tag.
    pub eth: Eth,
    /// The tag.
    pub tag: Tag,
}
