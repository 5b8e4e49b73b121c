//! Step 4: the backend returns.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::{
    super::{
        figures::Figures,
        load::held::Held,
        screen::grouped,
        stage::{Backend, Stage},
    },
    Load, item,
};
use crate::api::types::Health;

/// How long connections come in afterwards: enough of them to see the share.
const AFTER: Duration = Duration::from_millis(2500);

pub(super) fn run(stage: &mut Stage<'_>, figures: &mut Figures) -> Result<()> {
    stage.screen.title("4. b2 returns: probes bring it back")?;
    let load = Load::start(stage)?;
    stage.start_server(Backend::B2)?;
    let is_up = |stage: &Stage<'_>| Ok(item(stage, Backend::B2)?.state == Health::Up);
    let took = stage.wait_until("b2 is up again", is_up)?;
    let up = Instant::now();
    let (held, journal) = load.finish(stage, AFTER)?;
    let tally = journal.tally(up);
    figures.even(
        "b2 returns: share furthest from even",
        &tally,
        &Backend::NAMES,
    );
    stage.screen.line(&format!(
        "up after {:.1} s; of {} new connections since then:",
        took.as_secs_f64(),
        grouped(tally.total() as usize)
    ))?;
    stage.screen.bars(&tally, &Backend::NAMES)?;
    stage.screen.line(&format!(
        "new connections that failed as rows moved under them: {}",
        journal.failed().count()
    ))?;
    report_held(stage, figures, &held)
}

/// Rows of b2 go back to it, and the connections in them stay where they are.
fn report_held(stage: &Stage<'_>, figures: &mut Figures, held: &Held) -> Result<()> {
    let broken = held.flows().filter(|flow| flow.is_broken()).count();
    figures.none("b2 returns: connections broken", broken);
    stage.screen.line(&format!(
        "held connections: {broken} of {} broken",
        held.flows().count()
    ))
}
