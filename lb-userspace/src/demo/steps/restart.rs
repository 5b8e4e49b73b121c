//! Step 6: the daemon dies, and the data path does not care.

use std::time::Duration;

use anyhow::Result;

use super::{
    super::{figures::Figures, screen::grouped, stage::Stage},
    Load,
};
use crate::api::types::Status;

/// How long there is no daemon.
const WITHOUT: Duration = Duration::from_secs(1);

/// How long connections come in afterwards.
const AFTER: Duration = Duration::from_millis(600);

pub(super) fn run(stage: &mut Stage<'_>, figures: &mut Figures) -> Result<()> {
    stage
        .screen
        .title("6. the daemon dies under load, and another one takes over")?;
    let load = Load::start(stage)?;
    stage.kill_daemon()?;
    stage.interrupt.sleep(WITHOUT)?;
    stage.start_daemon()?;
    let (held, journal) = load.finish(stage, AFTER)?;
    let status: Status = stage.json(&["status"])?;
    let broken = held.flows().filter(|flow| flow.is_broken()).count();
    let failed = journal.failed().count();
    figures.none("daemon killed: connections broken", broken);
    figures.none("daemon killed: new connections failed", failed);
    let adopted = if status.adopted { "yes" } else { "no" };
    figures.must(
        "daemon killed: the next one adopts",
        adopted,
        "yes",
        status.adopted,
    );
    stage.screen.line(&format!(
        "new connections: {failed} of {} failed{}; held connections: {broken} of {} broken",
        grouped(journal.count()),
        journal.reason(),
        held.flows().count()
    ))
}
