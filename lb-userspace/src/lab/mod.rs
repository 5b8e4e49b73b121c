//! Network namespaces joined by veth pairs, for the demonstration and the tests: a client, the
//! balancer and its backends, each a host of its own on one machine.
//!
//! * [`Topology`]: whole networks, one-armed and two-armed. Start here.
//! * [`Namespace`]: one host: commands, threads, sockets and processes inside.
//! * [`Process`]: a process that ends with its guard.
//! * [`PassAll`], [`settle`]: what a veth end needs before XDP behind it works as behind a NIC.
//!
//! Everything is a guard: what it made is removed when it is dropped, also while panicking. Names
//! carry the process id and a counter ([`unique_name`]), so that runs do not meet.

mod addresses;
mod error;
mod ip;
mod namespace;
mod pass_all;
mod process;
mod settle;
mod shell;
mod topology;

pub use error::LabError;
pub use ip::{Family, Pair};
pub use namespace::Namespace;
pub use pass_all::PassAll;
pub use process::Process;
pub use settle::settle;
pub use topology::{Host, Link, Middle, Options, Second, Topology, WayBack};

use std::sync::atomic::{AtomicU32, Ordering};

/// `PREFIX-PID-N`: no other lab of this machine has it.
#[must_use]
pub fn unique_name(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}", std::process::id())
}
