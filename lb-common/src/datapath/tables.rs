//! What the way may ask of the outside.

use crate::{
    backend::Backend,
    directory::{self, Filter, Way},
    interface::Interface,
    next_hop::Macs,
    route::Routes,
    row::Row,
    wire::Ip,
};

/// Tables, counters and the one helper. Array elements come by reference; `None` is an index outside
/// of its map.
pub trait Tables {
    /// Index of the interface that the packet came in by.
    fn ingress(&self) -> u32;

    /// That interface; all zero if it is not one of ours.
    fn interface(&self) -> Interface;

    /// Whether packets of an address family may be for us: a load-time constant.
    fn serves(&self, v6: bool) -> bool;

    /// Modes that backends have, [`Mode::bit`](crate::backend::Mode::bit)s: a load-time constant.
    fn modes(&self) -> u32;

    /// The key of the flow hash: a load-time constant.
    fn hash_key(&self) -> [u64; 2];

    /// Which addresses the directory may hold.
    fn addresses(&self) -> Filter;

    /// The way of the directory that is looked at first for a service.
    fn front(&self) -> Option<&Way>;

    /// The value under a key of the directory.
    fn find(&self, key: &directory::Key, v6: bool) -> Option<u64>;

    /// Row `index` (below the table's length) of the table that begins at `element`.
    fn row(&self, element: u32, index: u32) -> Option<Row>;

    /// A backend by its pair index.
    fn backend(&self, pair: u32) -> Option<&Backend>;

    /// The MAC address of another interface, which a packet leaves by.
    fn mac(&self, ifindex: u32) -> u64;

    /// The routes of a family.
    fn routes(&self, v6: bool) -> Option<&Routes>;

    /// Asks the kernel how to reach `destination`, as if it came from `source`.
    fn fib<I: Ip>(&self, source: I::Address, destination: I::Address) -> Fib;

    /// Counts a packet of `bytes` under a pair.
    fn count(&self, pair: u32, direction: Direction, bytes: usize);
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client towards a backend.
    Forward,
    /// Back.
    Return,
}

/// The kernel's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fib {
    /// By this neighbour.
    Resolved {
        /// What to write at the head of the frame.
        macs: Macs,
        /// The interface it leaves by.
        ifindex: u32,
    },
    /// There is a route, but the neighbour must be resolved, which only the kernel can do.
    Unresolved,
    /// There is no route, or the kernel does not forward.
    Unroutable,
}
