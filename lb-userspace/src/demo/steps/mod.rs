//! The story, a file a step.

mod back;
mod balance;
mod drain;
mod kill;
mod restart;
mod start;

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::{
    figures::Figures,
    load::{
        held::Held,
        steady::{Journal, Steady},
    },
    stage::{Backend, Stage},
};
use crate::{
    api::types::{BackendItem, List},
    lab::Family,
};

/// Port of the services over TCP.
const WEB_PORT: u16 = 80;

/// Port of the service over UDP.
const ECHO_PORT: u16 = 7;

/// Connections that are held open during a step.
const HELD: u16 = 90;

/// How long connections come in before something happens.
const BEFORE: Duration = Duration::from_millis(400);

/// The first step's title: it begins with the network itself.
pub(super) const FIRST: &str = "1. a network of its own: a client, the balancer, three backends";

/// Tells it all.
///
/// # Errors
/// Where a step cannot go on. A figure that is off is none.
pub(super) fn tell(stage: &mut Stage<'_>, figures: &mut Figures) -> Result<()> {
    start::run(stage)?;
    balance::run(stage, figures)?;
    kill::run(stage, figures)?;
    back::run(stage, figures)?;
    drain::run(stage, figures)?;
    restart::run(stage, figures)
}

/// Takes the data path down.
///
/// # Errors
/// If the daemon does not answer.
pub(super) fn end(stage: &Stage<'_>) -> Result<()> {
    stage
        .screen
        .title("7. the end: the data path is taken down")?;
    stage.show(&["detach"])
}

/// Load on the service `web`: connections that are held, and new ones all the time.
struct Load {
    held: Held,
    steady: Steady,
}

impl Load {
    /// Begins, and lets it run for a moment.
    fn start(stage: &Stage<'_>) -> Result<Self> {
        let vip = stage.vip(Family::V4, WEB_PORT);
        let held = Held::open(&stage.client, stage.interrupt, vip, HELD)?;
        let steady = Steady::start(&stage.client, vip);
        stage.interrupt.sleep(BEFORE)?;
        Ok(Self { held, steady })
    }

    /// Lets it run for some time more, and ends the new connections.
    fn finish(self, stage: &Stage<'_>, after: Duration) -> Result<(Held, Journal)> {
        stage.interrupt.sleep(after)?;
        let journal = self.steady.finish(&stage.client, stage.interrupt)?;
        Ok((self.held, journal))
    }
}

/// What the command line says of a backend of `web`.
fn item(stage: &Stage<'_>, backend: Backend) -> Result<BackendItem> {
    let list: List<BackendItem> = stage.json(&["backend", "list", "web"])?;
    let found = list
        .items
        .into_iter()
        .find(|item| item.name == backend.name());
    found.with_context(|| format!("`xlb backend list web` has no {}", backend.name()))
}

/// Seconds from one moment to another, as text.
fn seconds(from: Instant, to: Instant) -> String {
    format!("{:.2} s", to.saturating_duration_since(from).as_secs_f64())
}
