//! The way back to clients: a few prefixes, compiled from the host's routes; the map `ROUTES`.
//!
//! Two halves of two families of [`LEN`] entries each, longest prefix first, the default route last
//! in use. [`Control::routes`](crate::maps::Control) names the half, so that a change of routes is
//! one store.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{address::Address, next_hop::NextHop};

/// Prefixes of one family in one half. A larger table of routes is left to the FIB helper.
pub const LEN: u32 = 16;

/// One prefix and what to do with packets for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Route {
    /// The prefix, host bits zero.
    pub prefix: Address,
    /// Ones over the prefix (an IPv4 prefix has 96 more at the front).
    pub mask: Address,
    /// An [`Action`] as number.
    pub action: u32,
    /// Free for later use; zero.
    pub reserved: u32,
    /// With [`Action::NextHop`]: the gateway. Changes at run time.
    pub next_hop: NextHop,
}

const _: () = assert!(size_of::<Route>() == 48);

/// What a [`Route`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Action {
    /// End of the list: no route.
    End = 0,
    /// By a gateway that the daemon resolved.
    NextHop = 1,
    /// Neighbours on a link, or more routes than [`LEN`]: ask the kernel's FIB.
    Fib = 2,
    /// Without translation: the packet is left to the kernel as it is.
    Direct = 3,
}

/// The routes of one family in one half: one element of `ROUTES`.
pub type Routes = [Route; LEN as usize];

/// Index in `ROUTES` of a family's routes in one half.
#[inline(always)]
#[must_use]
pub const fn list(half: u32, v6: bool) -> u32 {
    half * 2 + v6 as u32
}

/// Place of entry `index` of a family in one half, counted in [`Route`]s from the map's beginning: for
/// who has the map in memory.
#[must_use]
pub const fn index(half: u32, v6: bool, index: u32) -> u32 {
    list(half, v6) * LEN + index
}
