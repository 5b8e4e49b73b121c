//! Step 3: a backend dies.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::{
    super::{
        figures::Figures,
        load::{held::Held, steady::Journal},
        screen::grouped,
        stage::{Backend, Stage},
    },
    Load, seconds,
};

/// How long connections come in afterwards.
const AFTER: Duration = Duration::from_secs(2);

/// From then on no new connection may fail.
const LIMIT: Duration = Duration::from_secs(1);

pub(super) fn run(stage: &mut Stage<'_>, figures: &mut Figures) -> Result<()> {
    stage
        .screen
        .title("3. b2 dies: its process is killed under load")?;
    let load = Load::start(stage)?;
    let killed = stage.kill_server(Backend::B2)?;
    let (held, journal) = load.finish(stage, AFTER)?;
    report_new(stage, figures, &journal, killed)?;
    report_held(stage, figures, &held)?;
    stage.show(&["backend", "list", "web"])
}

fn report_new(
    stage: &Stage<'_>,
    figures: &mut Figures,
    journal: &Journal,
    killed: Instant,
) -> Result<()> {
    let last = journal.last_failure().unwrap_or(killed);
    let too_soon = journal.failed().filter(|attempt| attempt.ended < killed);
    figures.none(
        "kill b2: new connections failed before it",
        too_soon.count(),
    );
    figures.within(
        "kill b2: last new connection failed after",
        last.saturating_duration_since(killed),
        LIMIT,
    );
    stage.screen.line(&format!(
        "new connections: {} of {} failed, the last one {} after the kill",
        grouped(journal.failed().count()),
        grouped(journal.count()),
        seconds(killed, last)
    ))
}

fn report_held(stage: &Stage<'_>, figures: &mut Figures, held: &Held) -> Result<()> {
    let others = held.to("b2", false);
    let broken = others.iter().filter(|flow| flow.is_broken()).count();
    figures.none("kill b2: connections to b1 and b3 broken", broken);
    stage.screen.line(&format!(
        "held connections: {broken} of {} to b1 and b3 broken ({} to b2 died with it)",
        others.len(),
        held.to("b2", true).len()
    ))
}
