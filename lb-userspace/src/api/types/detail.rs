//! A backend, and its last probes.

use serde::{Deserialize, Serialize};

use super::BackendItem;

/// A backend with what there is to see of it alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendDetail {
    /// As lists have it.
    #[serde(flatten)]
    pub backend: BackendItem,
    /// How long it has been in its state, in milliseconds; `None`: it is not probed.
    pub state_ms: Option<u64>,
    /// Its last probes, the very last one first.
    pub last_probes: Vec<ProbeItem>,
}

/// A probe that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeItem {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
    /// How it ended, in a word: `ok`, `refused`, `status` and the like.
    pub outcome: String,
    /// What that word leaves out: `status 503`.
    pub detail: Option<String>,
    /// From the question to the answer or to giving up, in microseconds.
    pub latency_us: u64,
}
