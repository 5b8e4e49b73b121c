//! One question to one address. Each kind of probe is a [`Probe`]; the scheduler knows no other.

use std::{future::Future, net::SocketAddr, time::Duration};

use super::Outcome;

pub mod tcp;

/// A way to ask a backend.
pub trait Probe: Send + Sync + 'static {
    /// Asks `address` and ends within `timeout`.
    fn probe(&self, address: SocketAddr, timeout: Duration) -> impl Future<Output = Answer> + Send;
}

/// What one probe brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// From the question to the answer or to giving up.
    pub latency: Duration,
}
