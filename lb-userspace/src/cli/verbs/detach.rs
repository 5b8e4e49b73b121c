//! `xlb detach`: by the daemon where one runs, else by hand.

use super::{
    super::{Context, DONE},
    decap,
};
use crate::{
    api::{
        Code, Error,
        types::{Detached, List},
    },
    daemon::alone,
};

pub(super) fn run(context: &Context) -> Result<u8, Error> {
    let balancer = match context.ask(async |client| client.detach().await) {
        Err(error) if error.code == Code::Unreachable => alone::detach(&context.instance())?,
        answer => answer?,
    };
    let detached = Detached {
        interfaces: [balancer.interfaces, decap::detach_all(context)?].concat(),
        withdrawn: balancer.withdrawn,
    };
    context
        .output
        .result(&List::new(vec![detached.clone()]), || describe(&detached))?;
    Ok(DONE)
}

pub(super) fn describe(detached: &Detached) -> String {
    let withdrawn = detached.withdrawn.iter().map(ToString::to_string);
    let withdrawn: Vec<String> = withdrawn.collect();
    let withdrawn = match withdrawn.as_slice() {
        [] => String::new(),
        vips => format!("no longer announced: {}\n", vips.join(", ")),
    };
    match detached.interfaces.as_slice() {
        [] => format!("{withdrawn}nothing was attached\n"),
        interfaces => format!("{withdrawn}detached from {}\n", interfaces.join(", ")),
    }
}
