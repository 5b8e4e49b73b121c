//! `notify:`.

use std::{collections::HashMap, path::Path, time::Duration};

use hyper::Uri;
use rustls::pki_types::ServerName;

use super::{
    model::{Receiver, Way, Webhook},
    probe::Reader,
    problems::{Finding, Problems, Reported},
    raw::Node,
    source::Spanned,
    table::Table,
    values::{self, Choice, quoted},
};
use crate::api::types::EventItem;

const KEYS: [&str; 10] = [
    "name", "webhook", "headers", "ca", "verify", "exec", "user", "timeout", "events", "queue",
];
/// Keys of webhooks alone, and those of commands.
const OF_WEBHOOKS: [&str; 3] = ["headers", "ca", "verify"];
const OF_COMMANDS: [&str; 1] = ["user"];

const EXAMPLE: &str = "notify: [{ webhook: \"https://hooks.example.org/xlb\" }]";
const EXEC: &str = "exec: [/usr/lib/xlb/told, --page]";
const URL: &str = "https://hooks.example.org/xlb";

const TIMEOUT: Duration = Duration::from_secs(5);
const QUEUE: u32 = 1000;
/// More is memory for what nobody wants to know any more.
const MAX_QUEUE: u32 = 10_000;

const EVENT: Choice<()> = Choice {
    what: "event",
    words: &[],
    unsupported: &[],
};

/// A list of receivers, each with a name of its own.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Result<Vec<Receiver>, Reported> {
    let nodes = values::list(node, "`notify`", &format!("`{EXAMPLE}`"), problems)?;
    let read: Vec<_> = nodes.iter().map(|node| read_one(node, problems)).collect();
    let mut names = HashMap::new();
    let mut result = Ok(Vec::new());
    for receiver in read {
        let receiver = receiver?;
        if let Some(first) = names.insert(receiver.value.name.clone(), receiver.span) {
            let message = format!("two receivers are called {}", quoted(&receiver.value.name));
            let finding = Finding::at(receiver.span, message).also(first, "the other one");
            result = Err(problems.error(finding.hint("give one of them another `name:`")));
        } else if let Ok(receivers) = &mut result {
            receivers.push(receiver.value);
        }
    }
    result
}

fn read_one(node: &Node, problems: &mut Problems) -> Result<Spanned<Receiver>, Reported> {
    let table = Table::open(node, "a receiver", &KEYS, problems)?;
    let way = read_way(&table, problems);
    let name = table
        .get("name")
        .map(|node| values::name(node, "a receiver", problems))
        .transpose();
    let timeout = table.get("timeout").map_or(Ok(TIMEOUT), |node| {
        values::duration(node, "`timeout`", problems).map(|timeout| timeout.value)
    });
    let queue = table.get("queue").map_or(Ok(QUEUE), |node| {
        values::number(node, "`queue`", 1..=MAX_QUEUE, problems).map(|queue| queue.value)
    });
    let events = table
        .get("events")
        .map(|node| read_events(node, problems))
        .transpose();
    let (way, own) = way?;
    let (name, span) = name?.map_or((own, node.span), |name| (name.value, name.span));
    let value = Receiver {
        name,
        way,
        timeout: timeout?,
        events: events?,
        queue: usize::try_from(queue?).unwrap_or(usize::MAX),
    };
    Ok(Spanned { value, span })
}

/// How a receiver is told, and what it is called where it has no name.
fn read_way(table: &Table<'_>, problems: &mut Problems) -> Result<(Way, String), Reported> {
    if let (Some(one), Some(other)) = (table.get("webhook"), table.get("exec")) {
        let finding = Finding::at(other.span, "both `webhook` and `exec` in one receiver");
        let finding = finding.also(one.span, "and here");
        return Err(problems.error(finding.hint("make two receivers of it")));
    }
    if table.get("exec").is_some() {
        let strange = refuse(table, &OF_WEBHOOKS, "webhook", problems);
        let exec = Reader::new(table, problems).exec("exec", EXEC);
        let exec = strange.and(exec)?;
        let program = exec.command.first().map(Path::new);
        let name = program.and_then(Path::file_name).unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        return Ok((Way::Exec(exec), name));
    }
    let strange = refuse(table, &OF_COMMANDS, "exec", problems);
    let webhook = read_webhook(table, problems);
    let webhook = strange.and(webhook)?;
    let name = webhook.authority();
    Ok((Way::Webhook(webhook), name))
}

/// Keys that belong to receivers of another way.
fn refuse(
    table: &Table<'_>,
    keys: &[&str],
    way: &str,
    problems: &mut Problems,
) -> Result<(), Reported> {
    let mut result = Ok(());
    for key in keys {
        if let Some(node) = table.get(key) {
            let message = format!("`{key}` belongs to receivers with `{way}`");
            result = Err(problems.error(Finding::at(node.span, message).hint("leave it out")));
        }
    }
    result
}

fn read_webhook(table: &Table<'_>, problems: &mut Problems) -> Result<Webhook, Reported> {
    let node = table.require("webhook", &format!("webhook: {URL}"), problems);
    let url = node.and_then(|node| read_url(node, problems));
    let mut reader = Reader::new(table, problems);
    let (tls, headers) = (reader.tls(), reader.headers());
    let (webhook, tls) = (url?, tls?);
    let wants = webhook.tls;
    if let Some(node) = ["ca", "verify"].iter().find_map(|key| table.get(key))
        && !wants
    {
        let finding = Finding::at(node.span, "a certificate is asked for, but not TLS");
        return Err(problems.error(finding.hint("write `https://` in the URL")));
    }
    Ok(Webhook {
        tls: wants.then_some(tls),
        host: webhook.host,
        port: webhook.port,
        path: webhook.path,
        headers: headers?,
    })
}

/// What a URL says.
struct Url {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

fn read_url(node: &Node, problems: &mut Problems) -> Result<Url, Reported> {
    let text = values::text(node, "`webhook`", URL, problems)?;
    let parsed = text.parse::<Uri>().ok();
    let has_user = parsed.as_ref().and_then(Uri::authority);
    let has_user = has_user.is_some_and(|it| it.as_str().contains('@'));
    if has_user {
        let finding = Finding::at(node.span, "a user in the URL of a `webhook`");
        let hint = "write `headers: { authorization: \"Basic …\" }`";
        return Err(problems.error(finding.hint(hint)));
    }
    parsed.and_then(|uri| url(&uri)).ok_or_else(|| {
        let message = format!(
            "`webhook` is {}, expected a URL that begins with `http://` or `https://`",
            quoted(text)
        );
        problems.error(Finding::at(node.span, message).hint(format!("write `webhook: {URL}`, say")))
    })
}

fn url(uri: &Uri) -> Option<Url> {
    let tls = match uri.scheme_str()? {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host).ok()?;
    let usual = if tls { 443 } else { 80 };
    Some(Url {
        tls,
        host: host.to_owned(),
        port: uri.port_u16().unwrap_or(usual),
        path: uri.path_and_query()?.as_str().to_owned(),
    })
}

fn read_events(node: &Node, problems: &mut Problems) -> Result<Vec<&'static str>, Reported> {
    let nodes = values::list(node, "`events`", "`events: [down, up]`", problems)?;
    let words: Vec<_> = nodes
        .iter()
        .map(|node| read_event(node, problems))
        .collect();
    words.into_iter().collect()
}

fn read_event(node: &Node, problems: &mut Problems) -> Result<&'static str, Reported> {
    let written = values::text(node, "an event", "down", problems)?;
    let mut words = EventItem::WORDS.iter().copied();
    words
        .find(|word| *word == written)
        .ok_or_else(|| problems.error(EVENT.refuse(written, EventItem::WORDS, node.span)))
}
