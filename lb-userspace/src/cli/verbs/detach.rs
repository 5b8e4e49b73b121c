//! `xlb detach`: by the daemon where one runs, else by hand.

use super::super::{Context, DONE};
use crate::api::{
    Error,
    types::{Detached, List},
};

pub(super) fn run(context: &Context) -> Result<u8, Error> {
    let detached = context.ask(async |client| client.detach().await)?;
    context
        .output
        .result(&List::new(vec![detached.clone()]), || describe(&detached))?;
    Ok(DONE)
}

fn describe(detached: &Detached) -> String {
    match detached.interfaces.as_slice() {
        [] => "nothing was attached\n".to_owned(),
        interfaces => format!("detached from {}\n", interfaces.join(", ")),
    }
}
