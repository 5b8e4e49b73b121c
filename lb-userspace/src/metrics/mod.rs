//! Metrics for Prometheus.
//!
//! Two sources, one page: [`Events`] counts what the daemon does, as it happens; [`families`] turns
//! what the maps say at the moment of the scrape into metrics.

mod events;
mod families;
mod family;
mod server;

pub use events::Events;
pub use server::{listen, serve};

use prometheus::{TextEncoder, proto::MetricFamily};

use crate::api::types::Observation;

/// The page that a scrape gets: what the daemon counted itself, and what there is to see.
///
/// # Errors
/// Where a family of the daemon's own counters is malformed: a fault of xlb.
pub fn page(events: &[MetricFamily], observation: &Observation) -> prometheus::Result<String> {
    let mut text = TextEncoder::new().encode_to_string(events)?;
    for family in families::of(observation) {
        text.push_str(family.text());
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
