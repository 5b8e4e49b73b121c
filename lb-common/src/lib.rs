//! What the kernel side and the user side of xlb agree on, and the data path itself.
//!
//! Read it in this order:
//!
//! 1. [`datapath`]: the packet's way from frame to [`Verdict`], one step a file. It is generic over
//!    memory and tables, so that the same function runs in the kernel, in the host's unit tests and
//!    in the differential test.
//! 2. [`maps`]: every BPF map with its key, value, writer and reader; the values have a module each
//!    ([`directory`], [`row`], [`backend`], [`next_hop`], [`route`], [`interface`], [`counters`],
//!    [`range`], [`pool`], [`path`], [`flow`], [`fragment`], [`tracked`], [`attempt`]).
//! 3. [`decap`]: the other end of tunnels, on a backend: a data path of its own.
//!
//! Byte order: what lies on the wire is a byte array in network order; integers are host order.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod address;
pub mod attempt;
pub mod backend;
mod bits;
pub mod checksum;
pub mod counters;
pub mod datapath;
pub mod decap;
pub mod directory;
pub mod flow;
pub mod fragment;
pub mod hash;
pub mod interface;
pub mod maps;
pub mod next_hop;
pub mod path;
pub mod pool;
pub mod probe_link;
pub mod range;
pub mod route;
pub mod row;
pub mod trace;
pub mod tracked;
pub mod verdict;
pub mod wire;

pub use verdict::{AnswerReason, DropReason, PassReason, Verdict};
