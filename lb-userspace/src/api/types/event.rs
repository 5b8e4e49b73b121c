//! What happened.

use serde::{Deserialize, Serialize};

use super::{Item, Schema};

/// Something that happened to a service, a backend, or the balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventItem {
    /// Counted from 1 since the daemon started.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// One of [`EventItem::WORDS`]; `held` with its reason: `held (own_link)`.
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

impl EventItem {
    /// All that may happen.
    pub const WORDS: &[&str] = &[
        "up",
        "down",
        "held",
        "too_few",
        "enough",
        "tier_changed",
        "own_path_doubted",
        "own_path_trusted",
        "growing",
        "grown",
        "suppressed",
        "reused",
        "weighed",
        "suspected",
        "trusted",
        "ejected",
        "readmitted",
        "path_up",
        "path_down",
        "changed",
        "applied",
    ];

    /// What happened, without a reason behind it.
    #[must_use]
    pub fn word(&self) -> &str {
        self.what.split(' ').next().unwrap_or_default()
    }
}

impl Item for EventItem {
    const KIND: &'static str = "EventList";
}

/// What a receiver is told of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMessage {
    /// Always `xlb/v1`.
    pub schema: Schema,
    /// Always `Event`.
    pub kind: String,
    /// This host's name.
    pub host: String,
    /// The instance's name.
    pub instance: String,
    /// Events between this one and the message before that found no room in the queue.
    pub dropped: u64,
    /// The event.
    #[serde(flatten)]
    pub event: EventItem,
}

/// Whom events are told to, and how that goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverItem {
    /// Its name.
    pub name: String,
    /// How it is told: `webhook` or `exec`.
    pub way: String,
    /// Events that it is still to be told.
    pub waiting: u64,
    /// Events that it was told since the daemon started.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Events that found no room in the queue.
    pub dropped: u64,
    /// Attempts in a row that failed up to the last one.
    pub failures: u32,
    /// When it was last told something, in milliseconds since 1970.
    pub last_sent_ms: Option<u64>,
    /// When that last failed.
    pub last_failure_ms: Option<u64>,
    /// How.
    pub last_failure: Option<String>,
}
