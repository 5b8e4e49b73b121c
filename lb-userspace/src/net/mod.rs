//! The host's network: links, addresses, routes and neighbours, followed as they change.
//!
//! ```text
//! kernel ─ rtnetlink ─► follow ─► View ─► resolve(backend) ─► Resolution   next hop of a backend
//!                                   └──► client_routes()  ─► ClientRoute  the way back to clients
//! ```
//!
//! * [`view`]: what the kernel says at one moment; pure data and look-ups.
//! * [`client_routes`]: the way back to clients, compiled for the data path.
//! * [`follow`]: keeps a [`View`] up to date and its neighbours resolved.
//! * [`announce`]: which addresses this host takes, said by routes that routing software announces.
//! * [`inspect`]: what cannot work as the host is set up, and the command that mends it.
//!
//! * [`portal`]: where probes of the path set out.
//!
//! All of it concerns the network namespace of the process. rtnetlink's types stay inside
//! `kernel` and `message`: they change often.

pub mod announce;
pub mod client_routes;
pub mod follow;
pub mod inspect;
mod kernel;
mod message;
pub mod portal;
#[cfg(test)]
pub(crate) mod sandbox;
pub mod view;

pub use client_routes::{ClientAction, ClientRoute, Family};
pub use follow::{Doubts, Follower};
pub use inspect::{Finding, Severity};
pub use portal::{Doorway, Portal, PortalError};
pub use view::{NextHop, Resolution, View};
