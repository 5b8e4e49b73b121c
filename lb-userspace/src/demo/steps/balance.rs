//! Step 2: many flows, and who answers them.

use anyhow::Result;
use tokio::time::Instant;

use super::{
    super::{
        figures::Figures,
        load::burst::Tally,
        screen::grouped,
        stage::{Backend, Stage},
    },
    ECHO_PORT, WEB_PORT,
};
use crate::lab::Family;

/// With so many, chance never makes a share 5 % larger or smaller than it is meant to be.
const FLOWS: u32 = 30_000;

/// For the other family a glance is enough.
const FLOWS_IPV6: u32 = 10_000;

pub(super) fn run(stage: &Stage<'_>, figures: &mut Figures) -> Result<()> {
    stage
        .screen
        .title("2. balance: every flow counts, each backend answers with its name")?;
    let v4 = |port| stage.vip(Family::V4, port).to_string();
    let v6 = stage.vip(Family::V6, WEB_PORT).to_string();
    let web = burst(stage, &v4(WEB_PORT), "TCP connections", FLOWS, &[])?;
    let echo = burst(stage, &v4(ECHO_PORT), "UDP flows", FLOWS, &["--udp"])?;
    let web6 = burst(stage, &v6, "TCP connections over IPv6", FLOWS_IPV6, &[])?;
    figures.even(
        "balance, TCP: share furthest from even",
        &web,
        &Backend::NAMES,
    );
    figures.even(
        "balance, UDP: share furthest from even",
        &echo,
        &Backend::NAMES,
    );
    figures.even(
        "balance, IPv6: share furthest from even",
        &web6,
        &Backend::NAMES,
    );
    Ok(())
}

fn burst(stage: &Stage<'_>, vip: &str, what: &str, count: u32, flags: &[&str]) -> Result<Tally> {
    let began = Instant::now();
    let count = count.to_string();
    let words = [&["demo", "load", vip, "--count", &count], flags].concat();
    let tally = Tally::parse(&stage.at_client(&words)?)?;
    let took = began.elapsed().as_secs_f64();
    stage.screen.line(&format!(
        "{} {what} in {took:.1} s, none failed",
        grouped(tally.total() as usize)
    ))?;
    stage.screen.bars(&tally, &Backend::NAMES)?;
    Ok(tally)
}
