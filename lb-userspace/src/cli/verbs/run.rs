//! `xlb run`.

use super::super::{Context, DONE, args::RunArgs};
use crate::{
    api::Error,
    daemon::{self, Options},
};

pub(super) fn run(context: &Context, args: RunArgs) -> Result<u8, Error> {
    let RunArgs {
        config,
        metrics,
        ephemeral,
        force,
    } = args;
    daemon::run(Options {
        instance: context.instance(),
        config,
        metrics: metrics.0,
        ephemeral,
        force,
        paints: context.output.paints_talk,
    })?;
    Ok(DONE)
}
