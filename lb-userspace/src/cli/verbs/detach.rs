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
    dataplane::{self, Pins},
};

pub(super) fn run(context: &Context) -> Result<u8, Error> {
    let balancer = match context.ask(async |client| client.detach().await) {
        Err(error) if error.code == Code::Unreachable => by_hand(context)?,
        answer => answer?,
    };
    let detached = Detached {
        interfaces: [balancer.interfaces, decap::detach_all(context)?].concat(),
    };
    context
        .output
        .result(&List::new(vec![detached.clone()]), || describe(&detached))?;
    Ok(DONE)
}

/// No daemon answers. If one runs all the same, it holds the lock.
fn by_hand(context: &Context) -> Result<Detached, Error> {
    let instance = context.instance();
    let interfaces = Pins::new(instance.pins()).links()?.into_keys().collect();
    dataplane::detach(&instance.pins(), &instance.lock())?;
    Ok(Detached { interfaces })
}

pub(super) fn describe(detached: &Detached) -> String {
    match detached.interfaces.as_slice() {
        [] => "nothing was attached\n".to_owned(),
        interfaces => format!("detached from {}\n", interfaces.join(", ")),
    }
}
