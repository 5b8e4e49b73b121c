//! Whom events are told to.

use std::time::Duration;

use serde::Serialize;

use super::check::{Exec, Tls};

/// Somebody who is told what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receiver {
    /// Its name, unique among receivers.
    pub name: String,
    /// How it is told.
    #[serde(flatten)]
    pub way: Way,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Words of the events that it wants; `None`: all.
    pub events: Option<Vec<&'static str>>,
    /// Events that may wait; at least 1.
    pub queue: usize,
}

impl Receiver {
    /// Whether it wants events of this word.
    #[must_use]
    pub fn wants(&self, word: &str) -> bool {
        let events = self.events.as_ref();
        events.is_none_or(|events| events.contains(&word))
    }
}

/// How a receiver is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By a request.
    Webhook(Webhook),
    /// By a command, which gets the message as its input.
    Exec(Exec),
}

impl Way {
    /// The word in configuration and lists.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Exec(_) => "exec",
        }
    }
}

/// A POST over HTTP/1.1 (RFC 9112) whose content is the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// TLS first.
    #[serde(flatten)]
    pub tls: Option<Tls>,
    /// A name or an address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query, from the first `/`.
    pub path: String,
    /// Further headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Webhook {
    /// Host and port, as URLs have them.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}
