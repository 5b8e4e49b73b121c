//! One file a verb.

mod apply;
mod backend;
mod balancer;
mod check;
mod decap;
mod detach;
mod events;
mod run;
mod service;
mod setup;
mod status;
mod why;

use clap::CommandFactory as _;

use super::{
    Context, DONE,
    args::{Args, Verb},
    output,
};
use crate::{
    api::{Error, types::BalancerVerb},
    demo,
};

/// Does what the command line says; the exit code.
pub(super) fn run(context: &Context, verb: Verb) -> Result<u8, Error> {
    match verb {
        Verb::Run(args) => run::run(context, args),
        Verb::Check { config } => check::run(context, &config),
        Verb::Apply { config } => apply::run(context, config.as_deref()),
        Verb::Status { exit_code, wait } => status::run(context, exit_code, wait),
        Verb::Service { verb } => service::run(context, verb),
        Verb::Backend { verb } => backend::run(context, verb),
        Verb::Why(args) => why::run(context, args),
        Verb::Events { follow } => events::run(context, follow),
        Verb::Drain { what: _, lasts } => balancer::run(context, BalancerVerb::Drain, lasts.lasts),
        Verb::Ready { what: _ } => balancer::run(context, BalancerVerb::Ready, None),
        Verb::Decap(args) => decap::run(context, args),
        Verb::Detach => detach::run(context),
        Verb::Demo(args) => demo::run(&args, context.output.paints)
            .map(|()| DONE)
            .map_err(Error::from),
        Verb::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "xlb", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}
