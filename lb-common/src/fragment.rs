//! Where the later fragments of a packet go, which have no ports: the map `FRAGMENTS`.
//!
//! An LRU hash map, written when the first fragment passes. A miss: the first fragment has not come,
//! or was too long ago.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;

/// Packets in fragments that are remembered at one time.
pub const CAPACITY: u32 = 16_384;

/// How long fragments of one packet may be apart, in nanoseconds: as long as Linux waits for them
/// (`net.ipv4.ipfrag_time`).
pub const LIFETIME_NS: u64 = 30_000_000_000;

/// What fragments of one packet have in common (RFC 791, §3.2; RFC 8200, §4.5).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C, align(8))]
pub struct FragmentKey {
    /// Sender.
    pub source: Address,
    /// Receiver.
    pub destination: Address,
    /// Identification, as it lies on the wire; 16 bits of IPv4, 32 of IPv6.
    pub identification: u32,
    /// IP protocol number; of IPv6 the fragment header's next one.
    pub protocol: u32,
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

/// What became of the first fragment.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Fragment {
    /// The sender that it got.
    pub source: Address,
    /// The receiver that it got.
    pub destination: Address,
    /// The pair that it was counted under.
    pub pair: u32,
    /// 0: towards the backend; 1: back to the client.
    pub direction: u32,
    /// Bits that a tunnel's outer header varies by.
    pub entropy: u32,
    /// Free for later use; zero.
    pub reserved: u32,
    /// When it passed, in nanoseconds since the system started.
    pub born_ns: u64,
}

const _: () = assert!(size_of::<Fragment>() == 56);
