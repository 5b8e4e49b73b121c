//! Everything together: the real binary, real clients and servers, in networks of each test's own.
//!
//! Times are printed, never asserted.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod any_kernel;
mod attach;
mod backend_setup;
mod backends;
mod cli;
mod decap;
mod failover;
mod flood;
mod forwarding;
mod full_nat;
mod hairpin;
mod icmp;
mod modes;
mod network;
mod page;
mod path_mtu;
mod pools;
mod ports;
mod reload;
mod restart;
mod site;
mod transitions;
mod tunnels;
mod vlan;
