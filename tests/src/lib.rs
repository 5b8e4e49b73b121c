//! What the tests that need root, and the bench, are made of.
//!
//! The program alone, under `BPF_PROG_TEST_RUN`:
//!
//! * [`world`]: services, backends and routes in a few words → the maps' contents, as an [`image::Image`].
//! * [`image`]: the maps' contents, which the host build of the data path reads as they are.
//! * [`kernel`]: the same contents in real maps under the real program.
//! * [`packet`] and [`frame`]: frames, built by a library that knows nothing of the data path.
//! * [`fixture`]: cases, each a sentence, a frame and what becomes of it in kernel and host build.
//! * [`decap`]: the same for the program of `xlb decap`.
//! * [`counters`], [`sandbox`], [`random`]: all counters at once, a namespace of one's own, and
//!   reproducible randomness.
//!
//! No kernel at all, and time that is counted:
//!
//! * [`balancer`]: the planner and the host build over maps in memory.
//! * [`simulate`]: that and other designs, each under the same trace of flows and changes.
//!
//! Everything together, in the networks of [`lb_userspace::lab`]:
//!
//! * [`daemon`]: the real binary, with folders of its own; [`config`]: files for it.
//! * [`servers`]: real servers; [`fleet`]: some at every backend. [`load`]: their clients.
//! * [`bird`]: routing software at balancers and their router.
//! * [`pair`]: a second balancer beside a network's own.
//! * [`churn`]: clients while everything changes that can. [`flood`]: SYNs that nobody means.
//! * [`direct`]: what backends need that answer clients directly.
//! * [`echo`]: a server and its client that need no program.
//! * [`traced`]: what explains packets, over the maps of a test.
//! * [`icmp`]: ping, traceroute, path MTU. [`tap`]: frames as they are on a link.
//! * [`pinned`]: pins as files; [`layout_4`]: those of an earlier version.
//! * [`damage`]: whether packets arrived whole.
//! * [`wait`]: waiting for what comes soon.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "tests panic, so that the place is known"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths and places of small tables"
)]

#[cfg(feature = "system")]
pub mod balancer;
#[cfg(feature = "system")]
pub mod bird;
#[cfg(feature = "system")]
pub mod churn;
#[cfg(feature = "system")]
pub mod config;
#[cfg(feature = "system")]
pub mod counters;
#[cfg(feature = "system")]
pub mod daemon;
#[cfg(feature = "system")]
pub mod damage;
#[cfg(feature = "system")]
pub mod decap;
#[cfg(feature = "system")]
pub mod direct;
#[cfg(feature = "system")]
pub mod echo;
#[cfg(feature = "system")]
pub mod fixture;
#[cfg(feature = "system")]
pub mod fleet;
#[cfg(feature = "system")]
pub mod flood;
pub mod frame;
#[cfg(feature = "system")]
pub mod icmp;
pub mod image;
#[cfg(feature = "system")]
pub mod kernel;
#[cfg(feature = "system")]
pub mod layout_4;
#[cfg(feature = "system")]
pub mod load;
pub mod packet;
#[cfg(feature = "system")]
pub mod pair;
#[cfg(feature = "system")]
pub mod pinned;
pub mod random;
#[cfg(feature = "system")]
pub mod sandbox;
#[cfg(feature = "system")]
pub mod servers;
#[cfg(feature = "system")]
pub mod simulate;
#[cfg(feature = "system")]
mod store;
#[cfg(feature = "system")]
pub mod tap;
#[cfg(feature = "system")]
pub mod traced;
#[cfg(feature = "system")]
pub mod wait;
pub mod world;
