//! The demonstration: a client, the balancer and three backends in network namespaces of their own,
//! the real daemon between them, and real connections that are counted one by one.
//!
//! * [`steps`]: the story. Start here. Each step adds to the [`figures`] that are judged at the end.
//! * [`stage`]: namespaces, servers, daemon and client. Operators' verbs are run as this binary.
//! * [`server`], [`load`]: what answers, and what asks.
//! * [`claim`]: all that a demonstration may leave on a machine, and its removal.
//! * [`screen`]: how it looks. [`interrupt`]: signals that end it. [`require`]: what it needs.

mod claim;
mod figures;
mod interrupt;
mod load;
mod require;
mod screen;
mod server;
mod stage;
mod steps;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::Instant;

use self::{
    claim::Claim, figures::Figures, interrupt::Interrupt, load::burst::Order, screen::Screen,
    stage::Stage,
};

/// Flags of `xlb demo`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "It takes some 15 seconds, touches nothing outside of its namespaces, and removes them also after\nCtrl-C. It exits with 1 where one of its figures is off."
)]
pub struct Args {
    /// Leave everything running at the end, to be tried.
    #[arg(long)]
    keep: bool,
    /// Remove what --keep, or a demonstration that was killed, has left: all, or one by its name.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = claim::ALL, require_equals = true, conflicts_with = "keep")]
    down: Option<String>,
    /// A part of the demonstration.
    #[command(subcommand)]
    part: Option<Part>,
}

/// What runs inside the namespaces.
#[derive(Clone, Debug, clap::Subcommand)]
enum Part {
    /// Answer TCP and UDP with a name, then send back what comes in.
    Serve {
        /// The name.
        name: String,
        /// Where to listen.
        #[arg(required = true)]
        addresses: Vec<SocketAddr>,
    },
    /// Open flows, and count who answers.
    Load {
        /// Whom to ask.
        address: SocketAddr,
        /// Flows.
        #[arg(long, default_value_t = 3000)]
        count: u32,
        /// One datagram a flow, not one TCP connection.
        #[arg(long)]
        udp: bool,
    },
}

/// Runs the demonstration, or a part of it.
///
/// # Errors
/// Where a step of it fails, one of its figures is off, or it is interrupted. Everything it made is
/// removed by then.
pub fn run(args: &Args, paints: bool) -> Result<()> {
    let screen = Screen::new(paints);
    match args.part {
        Some(Part::Serve {
            ref name,
            ref addresses,
        }) => server::run(name, addresses),
        Some(Part::Load {
            address,
            count,
            udp,
        }) => load::burst::run(Order {
            address,
            count,
            udp,
        }),
        None => match &args.down {
            Some(name) => claim::remove_left(screen, name),
            None => show(screen, args.keep),
        },
    }
}

fn show(screen: Screen, keep: bool) -> Result<()> {
    require::all()?;
    let began = Instant::now();
    let interrupt = Interrupt::listen()?;
    let claim = Claim::new()?;
    let mut figures = Figures::default();
    if let Err(error) = tell(&claim, screen, &interrupt, &mut figures, keep) {
        drop(claim);
        // A signal often fails what it meets; then it is the signal that people want to read of.
        interrupt.check()?;
        return Err(error);
    }
    if keep {
        claim.leave();
    } else {
        figures.nothing_left(&claim.remove());
    }
    conclude(screen, &figures, began.elapsed())
}

fn tell(
    claim: &Claim,
    screen: Screen,
    interrupt: &Interrupt,
    figures: &mut Figures,
    keep: bool,
) -> Result<()> {
    screen.title(steps::FIRST)?;
    let mut stage = Stage::new(claim, screen, interrupt)?;
    steps::tell(&mut stage, figures)?;
    if keep {
        stage.leave()
    } else {
        steps::end(&stage)
    }
}

fn conclude(screen: Screen, figures: &Figures, took: Duration) -> Result<()> {
    screen.title("summary")?;
    screen.text(&figures.table(screen))?;
    let off = figures.off();
    ensure!(off == 0, "{off} of {} figures are off", figures.count());
    screen.line(&format!(
        "all {} figures as expected, in {:.0} s",
        figures.count(),
        took.as_secs_f64()
    ))
}
