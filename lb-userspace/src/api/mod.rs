//! The daemon's API: HTTP and JSON over a Unix socket.
//!
//! * [`types`]: requests and answers, shared by both ends; [`error`]: what may go wrong.
//! * [`handle`]: how a request reaches the daemon's loop, which alone changes anything.
//! * [`server`], [`socket`]: the daemon's end. [`client`]: the command line's.
//! * [`chronicle`]: what happened, for whoever asks.
//! * [`resolve`]: which backend an operator means.

pub mod chronicle;
pub mod client;
pub mod error;
pub mod handle;
pub mod resolve;
#[cfg(test)]
pub(crate) mod samples;
pub mod server;
pub mod socket;
pub mod types;

#[cfg(test)]
mod tests;

pub use chronicle::Chronicle;
pub use error::{Code, Error, ErrorBody};
pub use handle::{Command, Handle, Reply};
