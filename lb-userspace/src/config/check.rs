//! What a probe asks, and what a good answer is.

use std::{cmp::Ordering, fmt, hash, path::PathBuf};

use regex_lite::Regex;
use serde::{Serialize, Serializer};

/// What a probe asks a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Check {
    /// A TCP connection; what is said on it, if anything is.
    Tcp(Talk),
    /// A datagram, which is sent until something answers.
    Udp(Talk),
    /// A request over HTTP/1.1, with or without TLS.
    Http(Http),
    /// A question to a DNS server, over UDP.
    Dns(Dns),
    /// `grpc.health.v1.Health/Check`, with or without TLS.
    Grpc(Grpc),
    /// A command.
    Exec(Exec),
}

/// Bytes there, bytes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Talk {
    /// What is said first; nothing over TCP, where the other side may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// What has to come; anything, if nothing is said here.
    #[serde(flatten)]
    pub expect: Option<Pattern>,
}

/// A request over HTTP/1.1 (RFC 9112).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Http {
    /// TLS first.
    #[serde(flatten)]
    pub tls: Option<Tls>,
    /// GET, HEAD, OPTIONS or POST.
    pub method: &'static str,
    /// Path and query, from the first `/`.
    pub path: String,
    /// The header `Host`; the backend's address and port where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Further headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Good statuses, as ranges with both ends.
    pub status: Vec<(u16, u16)>,
    /// What the first [`Http::MOST`] bytes of the content have to hold.
    #[serde(flatten)]
    pub body: Option<Pattern>,
}

impl Http {
    /// Bytes of content that are looked at.
    pub const MOST: usize = 64 << 10;

    /// Whether a status is a good one.
    #[must_use]
    pub fn is_good(&self, status: u16) -> bool {
        let mut ranges = self.status.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&status))
    }
}

/// TLS 1.2 or 1.3 as a client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Tls {
    /// Whether the certificate has to be valid, for the name and now.
    pub verify: bool,
    /// The name to ask for and to look for in the certificate; the backend's address where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// A file with the authorities to trust, in PEM; those of the host where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// A question to a DNS server (RFC 1035).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Dns {
    /// The name.
    pub query: String,
    /// The type of record, by its number.
    pub record: Word,
    /// The response code, by its number.
    pub rcode: Word,
    /// What one of the answers has to be, as text; any that there is, where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// A word of a protocol, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word {
    /// As people write it.
    pub word: &'static str,
    /// As packets have it.
    pub number: u16,
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word)
    }
}

/// A call of `grpc.health.v1.Health/Check`
/// (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Grpc {
    /// TLS first.
    #[serde(flatten)]
    pub tls: Option<Tls>,
    /// The service that is asked for; empty: the server as a whole.
    pub service: String,
}

/// A command whose exit code 0 is good.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Exec {
    /// An absolute path, and arguments.
    pub command: Vec<String>,
    /// Whom it runs as.
    pub user: String,
}

/// What is looked for in an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// These bytes, anywhere.
    Text(String),
    /// A match of a regular expression, anywhere in what of it is text.
    Regex(Expression),
}

impl Pattern {
    /// Whether it is there.
    #[must_use]
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Text(text) if text.is_empty() => true,
            Self::Text(text) => {
                let mut windows = bytes.windows(text.len());
                windows.any(|window| window == text.as_bytes())
            }
            Self::Regex(expression) => expression.0.is_match(&String::from_utf8_lossy(bytes)),
        }
    }
}

/// A regular expression. It is what it was written as.
#[derive(Clone)]
pub struct Expression(Regex);

impl Expression {
    /// Reads one; it takes time in proportion to what it is matched with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, regex_lite::Error> {
        Regex::new(text).map(Self)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Expression {}

impl PartialOrd for Expression {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expression {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl hash::Hash for Expression {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl Check {
    /// The word for its kind.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Http(Http { tls: None, .. }) => "http",
            Self::Http(Http { tls: Some(_), .. }) => "https",
            Self::Dns(_) => "dns",
            Self::Grpc(_) => "grpc",
            Self::Exec(_) => "exec",
        }
    }
}

impl Default for Check {
    fn default() -> Self {
        Self::Tcp(Talk::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_looked_for_in_bytes() {
        let text = |text: &str| Pattern::Text(text.to_owned());
        let regex = |text| Pattern::Regex(Expression::new(text).unwrap());
        for (pattern, bytes, is_there) in [
            (text("ok"), &b"it is ok"[..], true),
            (text("ok"), b"o", false),
            (text(""), b"", true),
            (text("\0"), b"a\0\xff", true),
            (regex("^st.tus: (up|ok)$"), b"status: up", true),
            (regex("^st.tus: (up|ok)$"), b"status: down", false),
            (regex("up"), b"\xff\xfeup", true),
        ] {
            assert_eq!(pattern.is_in(bytes), is_there, "{pattern:?} {bytes:?}");
        }
        assert!(Expression::new("(").is_err());
    }

    #[test]
    fn expressions_are_what_they_were_written_as() {
        let new = |text| Expression::new(text).unwrap();
        assert_eq!(new("a+"), new("a+"));
        assert!(new("a") < new("b"));
        assert_eq!(format!("{:?}", new("a+")), "\"a+\"");
    }
}
