//! Metrics for Prometheus.
//!
//! Two sources, one page: [`Events`] counts what the daemon does, as it happens; [`families`] turns
//! what the maps say at the moment of the scrape into metrics.

mod events;
mod families;
mod server;

pub use events::Events;
pub use families::Scrape;
pub use server::{listen, serve};

use prometheus::{Encoder as _, Registry, TextEncoder, proto::MetricFamily};

use crate::api::types::Observation;

/// The page that a scrape gets: what the daemon counted itself, and what there is to see.
///
/// # Errors
/// Where a family is malformed: a fault of xlb.
pub fn page(events: Vec<MetricFamily>, observation: Observation) -> prometheus::Result<String> {
    let registry = Registry::new();
    registry.register(Box::new(Scrape::new(observation)))?;
    let mut families = registry.gather();
    families.extend(events);
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests;
