//! A service's backend as the data path sees it: one cache line, in the map `BACKENDS`.
//!
//! A service holds an *extent* of that map. Its first entry is a [`Header`], which only the daemon
//! reads; the others are [`Backend`]s, and [`Row`](crate::row::Row)s name them by their distance
//! from the header. The index of an entry in the map is its *pair*: the statistics of a service's
//! backend stand under the same index in `STATS`, those of packets that the service dropped under
//! its header's.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{address::Address, next_hop::NextHop};

/// A backend of one service. Written before anything names its index and then left alone, but for
/// `next_hop` and `state`, which are single aligned stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Backend {
    /// Where packets go.
    pub address: Address,
    /// Where clients sent them: what replies must claim to come from.
    pub vip: Address,
    /// The backend's port, network byte order.
    pub port: [u8; 2],
    /// The VIP's port, network byte order.
    pub vip_port: [u8; 2],
    /// What the way towards the backend adds to the IPv4 header checksum: VIP address → backend
    /// address ([`checksum::Delta`](crate::checksum::Delta)). The way back adds its complement.
    pub ip_delta: u16,
    /// The same for the TCP or UDP checksum: address and port.
    pub l4_delta: u16,
    /// The way there. Changes at run time.
    pub next_hop: NextHop,
    /// A [`State`] as number. Changes at run time; for the next daemon, the data path never reads it.
    pub state: u32,
    /// Weight, for the next daemon.
    pub weight: u32,
    /// Free for later use; zero.
    pub reserved: [u32; 2],
}

const _: () = assert!(size_of::<Backend>() == 64);

/// What an entry of `BACKENDS` holds, as the daemon left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum State {
    /// Nothing: the entry may be used.
    Free = 0,
    /// The [`Header`] of an extent.
    Header = 1,
    /// A backend whose first probe has not ended.
    Unknown = 2,
    /// A backend that answers.
    Up = 3,
    /// A backend that does not.
    Down = 4,
}

impl TryFrom<u32> for State {
    type Error = u32;

    fn try_from(number: u32) -> Result<Self, u32> {
        Ok(match number {
            0 => Self::Free,
            1 => Self::Header,
            2 => Self::Unknown,
            3 => Self::Up,
            4 => Self::Down,
            other => return Err(other),
        })
    }
}

/// The first entry of an extent: what the next daemon needs to adopt it. Laid over a [`Backend`],
/// `state` at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Header {
    /// The service's VIP.
    pub vip: Address,
    /// The VIP's port, network byte order.
    pub port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Free for later use; zero.
    pub reserved: [u8; 1],
    /// Entries of the extent, this one included.
    pub length: u32,
    /// The slot table's extent: see [`directory::Table`](crate::directory::Table).
    pub table: u32,
    /// Free for later use; zero.
    pub reserved2: [u32; 5],
    /// [`State::Header`].
    pub state: u32,
    /// Free for later use; zero.
    pub reserved3: [u32; 3],
}

const _: () = assert!(size_of::<Header>() == size_of::<Backend>());
const _: () =
    assert!(core::mem::offset_of!(Header, state) == core::mem::offset_of!(Backend, state));
const _: () = assert!(core::mem::offset_of!(Backend, next_hop) % 8 == 0);
