//! What happened.

use serde::{Deserialize, Serialize};

use super::Item;

/// Something that happened to a service, a backend, or the balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventItem {
    /// Counted from 1 since the daemon started.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// `up`, `down`, `held`, `too_few`, `enough`, `own_path_doubted`, `own_path_trusted`, `changed`, `applied`.
    pub what: String,
    /// To which service.
    pub service: Option<String>,
    /// To which of its backends.
    pub backend: Option<String>,
    /// Why: how the deciding probe ended, which links are down, who did it.
    pub cause: String,
    /// How long it had been in the state before, in milliseconds.
    pub lasted_ms: Option<u64>,
    /// Backends of the service that are up then, and all of them.
    pub up: Option<u32>,
    /// All of them.
    pub total: Option<u32>,
}

impl Item for EventItem {
    const KIND: &'static str = "EventList";
}
