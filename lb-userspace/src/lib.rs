//! The daemon and the command line of xlb.
//!
//! ```text
//! file ─► config::raw ─► config::model ─► + overrides + health ─► desired ─► diff ─► dataplane ─► maps
//! ```
//!
//! * [`config`]: YAML → model, with every mistake at once, each at its place in the file.
//! * [`slot_table`]: who owns which slot: a pure function of backends, weights, states and seed.
//! * [`desired`]: model, overrides, health and the host's network → what the maps must say; and the
//!   difference to what they say.
//! * [`dataplane`]: programs, links and maps: load, pin, adopt, write, read.
//! * [`health`]: probes, and the state machine that judges them.
//! * [`notify`]: who is told what happens: webhooks and commands.
//! * [`net`]: the host's links, addresses, routes and neighbours, followed as they change.
//! * [`object`]: the eBPF object, inside this binary.
//! * [`daemon`]: the one loop that ties all this together.
//! * [`backend_setup`]: what backends need, as lines for their shells.
//! * [`api`], [`cli`], [`metrics`]: what people and programs see.
//! * [`lab`], [`demo`]: network namespaces, and the demonstration in them.

pub mod api;
pub mod backend_setup;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod demo;
pub mod desired;
pub mod health;
pub mod lab;
pub mod metrics;
pub mod net;
pub mod notify;
pub mod object;
pub mod peers;
mod rare;
pub mod slot_table;
