//! `xlb why`.

use super::super::{Context, DONE, args::WhyArgs, table};
use crate::api::{
    Error,
    types::{Why, WhyRequest},
};

pub(super) fn run(context: &Context, args: WhyArgs) -> Result<u8, Error> {
    let request = WhyRequest {
        protocol: args.protocol,
        source: args.source,
        destination: args.destination,
        flags: args.flags,
        interface: args.interface,
    };
    context.ask(async |client| {
        let why = client.why(&request).await?;
        context.output.result(&why, || render(&why))
    })?;
    Ok(DONE)
}

/// The way, and what it comes to.
fn render(why: &Why) -> String {
    let rows = why
        .steps
        .iter()
        .map(|step| [step.step.clone(), step.text.clone()]);
    let steps = table::render([table::left("STEP"), table::left("FOUND")], rows, false);
    format!("{steps}\n{}\n", sentence(why))
}

/// What it comes to, in one line.
fn sentence(why: &Why) -> String {
    let Why {
        verdict,
        reason,
        explanation,
        backend,
        leaves_by,
        ..
    } = why;
    let sent_to = backend.as_ref().filter(|_| verdict == "sent");
    let parts = [
        sent_to.map(|backend| format!(" ({backend})")),
        leaves_by
            .as_ref()
            .map(|interface| format!(" by {interface}")),
        reason.as_ref().map(|reason| format!(": {reason}")),
        explanation.as_ref().map(|text| format!(": {text}")),
    ];
    let parts: String = parts.into_iter().flatten().collect();
    format!("{verdict}{parts}")
}
