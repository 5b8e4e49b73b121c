//! Everything together: the real binary, real clients and servers, in networks of each test's own.
//!
//! Times are printed, never asserted.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod failover;
mod forwarding;
mod page;
mod restart;
mod site;
