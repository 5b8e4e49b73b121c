//! Where a frame goes next: the map `NEXT_HOPS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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

/// Destination and source MAC address, in the order of the wire.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    zerocopy::Unaligned,
)]
#[repr(C)]
pub struct Macs {
    /// To.
    pub destination: [u8; 6],
    /// From.
    pub source: [u8; 6],
}
