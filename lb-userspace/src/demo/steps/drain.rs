//! Step 5: a backend is taken out by hand, and put back.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::{
    super::{
        figures::Figures,
        load::{burst::Tally, held::Held},
        screen::grouped,
        stage::{Backend, Stage},
    },
    Load, WEB_PORT,
};
use crate::lab::Family;

/// How long connections come in afterwards.
const AFTER: Duration = Duration::from_millis(1200);

/// Connections after it is back.
const COUNT: &str = "2000";

pub(super) fn run(stage: &Stage<'_>, figures: &mut Figures) -> Result<()> {
    stage.screen.title("5. drain: b3 is taken out by hand")?;
    let load = Load::start(stage)?;
    stage.show(&["backend", "drain", "web", "b3"])?;
    let drained = Instant::now();
    let (held, journal) = load.finish(stage, AFTER)?;
    let tally = journal.tally(drained);
    let late = tally.0.get("b3").copied().unwrap_or_default() as usize;
    figures.none("drain b3: new connections to it", late);
    stage.screen.line(&format!(
        "new connections to b3 since then: {late} of {}",
        grouped(tally.total() as usize)
    ))?;
    report_held(stage, figures, &held)?;
    drop(held);
    ready(stage, figures)
}

fn report_held(stage: &Stage<'_>, figures: &mut Figures, held: &Held) -> Result<()> {
    let broken = |is: bool| {
        let flows = held.to("b3", is);
        flows.iter().filter(|flow| flow.is_broken()).count()
    };
    let (drained, others) = (broken(true), broken(false));
    figures.none("drain b3: connections to it broken", drained);
    figures.none("drain b3: connections to b1 and b2 broken", others);
    stage.screen.line(&format!(
        "held connections: {others} of {} to b1 and b2 broken, {drained} of {} to b3",
        held.to("b3", false).len(),
        held.to("b3", true).len()
    ))
}

fn ready(stage: &Stage<'_>, figures: &mut Figures) -> Result<()> {
    stage.show(&["backend", "ready", "web", "b3"])?;
    let vip = stage.vip(Family::V4, WEB_PORT).to_string();
    let tally = Tally::parse(&stage.at_client(&["demo", "load", &vip, "--count", COUNT])?)?;
    figures.even(
        "b3 ready: share furthest from even",
        &tally,
        &Backend::NAMES,
    );
    stage.screen.bars(&tally, &Backend::NAMES)
}
