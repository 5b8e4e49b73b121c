//! Generic UDP Encapsulation (draft-ietf-intarea-gue): variant 0, and what it may carry of a second backend.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Ip;
use crate::checksum::{Delta, fold};

/// The first four bytes of variant 0 (§3.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Gue {
    /// Two bits of variant, one that tells control messages, five of length of what follows these bytes.
    variant_control_length: u8,
    /// Protocol number of what it carries.
    pub protocol: u8,
    /// Which extension fields there are.
    flags: [u8; 2],
}

impl Gue {
    const LENGTH: u8 = 0x1f;

    /// Before a packet with this protocol number, and a [`Hop`] towards an address of `O`.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "2 or 5")]
    pub const fn with_hop<O: Ip>(protocol: u8) -> Self {
        let words = (size_of::<Hop>() + size_of::<O::Address>()) / 4;
        Self {
            variant_control_length: words as u8,
            protocol,
            flags: [0; 2],
        }
    }

    /// The sum ([`checksum::sum`](crate::checksum::sum)) of its words, without extension fields.
    #[inline(always)]
    #[must_use]
    pub const fn sum(self) -> u16 {
        u16::from_ne_bytes([self.variant_control_length, self.protocol])
    }

    /// What stands where an IP header's version would: of variant 1, in which an IP packet follows UDP at once,
    /// that is its version.
    #[inline(always)]
    #[must_use]
    pub const fn version(self) -> u8 {
        self.variant_control_length >> 4
    }

    /// Bytes of private data behind these; `None`: another variant, a control message, or extension fields.
    #[inline(always)]
    #[must_use]
    pub const fn private_data(self) -> Option<usize> {
        if self.variant_control_length & !Self::LENGTH != 0 || u16::from_ne_bytes(self.flags) != 0 {
            return None;
        }
        Some(4 * self.variant_control_length as usize)
    }
}

/// Private data, before an address: another backend that may have the packet's flow, where the one that gets it
/// does not know it. As GLB's director lays it out (`docs/development/gue-header.md` there), with one address of
/// the outer header's family.
///
/// ```text
/// 0            2          3          4
/// ┌────────────┬──────────┬──────────┬──────────────┐
/// │ kind       │ next     │ count: 1 │ address …    │
/// └────────────┴──────────┴──────────┴──────────────┘
/// ```
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Hop {
    /// 0: IPv4, GLB's. 1: IPv6, ours.
    kind: [u8; 2],
    /// How many of the addresses were tried.
    next: u8,
    /// How many there are.
    count: u8,
}

impl Hop {
    /// Towards an address of `O`, not tried yet.
    #[inline(always)]
    #[must_use]
    pub const fn new<O: Ip>() -> Self {
        Self {
            kind: [0, O::V6 as u8],
            next: 0,
            count: 1,
        }
    }

    /// Whether one address of `O` follows.
    #[inline(always)]
    #[must_use]
    pub const fn is_one<O: Ip>(self) -> bool {
        let [high, low] = self.kind;
        high == 0 && low == O::V6 as u8 && self.count == 1
    }

    /// Whether the address was not tried yet.
    #[inline(always)]
    #[must_use]
    pub const fn is_due(self) -> bool {
        self.next == 0
    }

    /// The address is tried; what that adds to a sum over this header.
    #[inline(always)]
    pub const fn spend(&mut self) -> Delta {
        let before = self.sum();
        self.next = 1;
        Delta::between(before, self.sum())
    }

    /// The sum ([`checksum::sum`](crate::checksum::sum)) of its words.
    #[inline(always)]
    #[must_use]
    pub const fn sum(self) -> u16 {
        let kind = u16::from_ne_bytes(self.kind);
        fold(kind as u32 + u16::from_ne_bytes([self.next, self.count]) as u32)
    }
}
