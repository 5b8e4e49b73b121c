//! Services on several ports, and NAT backends of such services: the map `RANGES`.
//!
//! The directory names one element for an address and protocol; it is looked through from front to
//! back, the ranges sorted, what has all ports last. An element is written before the directory names
//! it and then left alone, so that a change of any range is one store.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Ranges of one address and protocol.
pub const LEN: u32 = 16;

/// One range of ports, and what stands behind it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Range {
    /// First port, host byte order.
    pub first: u16,
    /// Last port, host byte order.
    pub last: u16,
    /// Free for later use; zero.
    pub reserved: u32,
    /// As in [`directory::Way`](crate::directory::Way): of a service, or of a NAT backend. 0: the
    /// end of the list.
    pub value: u64,
}

/// One element of `RANGES`.
pub type Ranges = [Range; LEN as usize];

/// What stands behind a port, in network byte order; `None` where no range holds it.
#[inline(always)]
#[must_use]
pub fn find(ranges: &Ranges, port: [u8; 2]) -> Option<u64> {
    let port = u16::from_be_bytes(port);
    for range in ranges {
        if range.value == 0 {
            break;
        }
        if range.first <= port && port <= range.last {
            return Some(range.value);
        }
    }
    None
}
