//! `xlb events`.

use std::time::{Duration, UNIX_EPOCH};

use super::super::{
    Context, DONE, args, output,
    table::{self, left, or_dash, right},
};
use crate::api::{Error, types::EventItem};

pub(super) fn run(context: &Context, follow: bool) -> Result<u8, Error> {
    context.ask(async |client| {
        let list = client.events(0, false).await?;
        if !follow {
            return context.output.result(&list, || render(&list.items, true));
        }
        let mut items = list.items;
        let mut last = 0;
        loop {
            print(context, &items, last == 0)?;
            last = items.last().map_or(last, |event| event.number);
            items = client.events(last, true).await?.items;
        }
    })?;
    Ok(DONE)
}

/// Events as they come: a line each.
fn print(context: &Context, items: &[EventItem], is_first: bool) -> Result<(), Error> {
    match context.output.format {
        args::Format::Table if items.is_empty() && !is_first => Ok(()),
        args::Format::Table => output::print(&render(items, is_first)),
        args::Format::Json => {
            let lines = items.iter().map(serde_json::to_string);
            let lines = lines
                .collect::<Result<Vec<_>, _>>()
                .map_err(anyhow::Error::new)?;
            let lines: String = lines.into_iter().map(|line| line + "\n").collect();
            output::print(&lines)
        }
    }
}

fn render(events: &[EventItem], has_head: bool) -> String {
    let rows = events.iter().map(|event| {
        let left = event.up.zip(event.total);
        [
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(event.at_ms))
                .to_string(),
            event.what.clone(),
            or_dash(event.service.clone()),
            or_dash(event.backend.clone()),
            or_dash(left.map(|(up, total)| format!("{up}/{total}"))),
            or_dash(event.lasted_ms.map(lasted)),
            event.cause.clone(),
        ]
    });
    let heads = [
        left("TIME"),
        left("EVENT"),
        left("SERVICE"),
        left("BACKEND"),
        right("UP"),
        right("AFTER"),
        left("CAUSE"),
    ];
    let table = table::render(heads, rows, false);
    if has_head {
        return table;
    }
    table
        .split_once('\n')
        .map_or_else(String::new, |(_, rows)| rows.to_owned())
}

fn lasted(milliseconds: u64) -> String {
    match milliseconds {
        0..10_000 => format!("{milliseconds}ms"),
        _ => super::super::format::seconds(milliseconds / 1000),
    }
}
