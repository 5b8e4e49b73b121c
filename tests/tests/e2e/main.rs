//! Everything together: the real binary, real clients and servers, in networks of each test's own.
//!
//! Times are printed, never asserted.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod affinity;
mod announce;
mod any_kernel;
mod attach;
mod backend_setup;
mod backends;
mod cli;
mod decap;
mod failover;
mod fleet_of_two;
mod flood;
mod forwarding;
mod full_nat;
mod guards;
mod hairpin;
mod icmp;
mod modes;
mod network;
mod notify;
mod on_down;
mod page;
mod passive;
mod path_mtu;
mod paths;
mod peers;
mod pools;
mod ports;
mod probes;
mod recovery;
mod reload;
mod restart;
mod site;
mod tiers;
mod transitions;
mod tunnels;
mod upgrade;
mod vlan;
mod why;
