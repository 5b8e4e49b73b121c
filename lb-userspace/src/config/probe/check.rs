//! What a probe asks: the keys of each type.

use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use rustls::pki_types::ServerName;
use simple_dns::Name;

use crate::config::{
    model::{Check, Dns, Exec, Expression, Grpc, Http, Pattern, Talk, Tls, Word},
    problems::{Finding, Problems, Reported},
    raw::{Node, Value},
    table::{self, Table},
    values::{self, Choice, quoted},
};

/// Keys that some types have.
pub(super) const KEYS: [&str; 21] = [
    "answer",
    "body",
    "body_regex",
    "ca",
    "command",
    "expect",
    "expect_regex",
    "headers",
    "host",
    "method",
    "path",
    "query",
    "rcode",
    "record",
    "send",
    "service",
    "sni",
    "status",
    "tls",
    "user",
    "verify",
];

const TALK: &[&str] = &["send", "expect", "expect_regex"];
const HTTP: &[&str] = &[
    "method",
    "path",
    "host",
    "headers",
    "status",
    "body",
    "body_regex",
];
const TLS: &[&str] = &["verify", "sni", "ca"];
const DNS: &[&str] = &["query", "record", "rcode", "answer"];
const GRPC: &[&str] = &["service", "tls"];
const EXEC: &[&str] = &["command", "user"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    Http,
    Https,
    Dns,
    Grpc,
    Exec,
}

const KINDS: Choice<Kind> = Choice {
    what: "probe type",
    words: &[
        ("tcp", Kind::Tcp),
        ("http", Kind::Http),
        ("https", Kind::Https),
        ("udp", Kind::Udp),
        ("dns", Kind::Dns),
        ("grpc", Kind::Grpc),
        ("exec", Kind::Exec),
    ],
    unsupported: &["icmp", "ping", "tls"],
};

const METHODS: Choice<&str> = Choice {
    what: "`method`",
    words: &[
        ("GET", "GET"),
        ("HEAD", "HEAD"),
        ("OPTIONS", "OPTIONS"),
        ("POST", "POST"),
    ],
    unsupported: &["CONNECT", "DELETE", "PATCH", "PUT", "TRACE"],
};

/// RFC 1035, §3.2.2; RFC 2782; RFC 3596.
const RECORDS: Choice<Word> = Choice {
    what: "`record`",
    words: &[
        (A.word, A),
        word("AAAA", 28),
        word("CNAME", 5),
        word("MX", 15),
        word("NS", 2),
        word("PTR", 12),
        word("SOA", 6),
        word("SRV", 33),
        word("TXT", 16),
    ],
    unsupported: &["ANY", "DNSKEY", "DS", "HTTPS"],
};

/// RFC 1035, §4.1.1.
const RCODES: Choice<Word> = Choice {
    what: "`rcode`",
    words: &[
        (NOERROR.word, NOERROR),
        word("FORMERR", 1),
        word("SERVFAIL", 2),
        word("NXDOMAIN", 3),
        word("NOTIMP", 4),
        word("REFUSED", 5),
    ],
    unsupported: &[],
};

const A: Word = Word {
    word: "A",
    number: 1,
};
const NOERROR: Word = Word {
    word: "NOERROR",
    number: 0,
};

const fn word(word: &'static str, number: u16) -> (&'static str, Word) {
    (word, Word { word, number })
}

const COMMAND: &str = "command: [/usr/lib/xlb/check, --fast]";
const NOBODY: &str = "nobody";
/// Statuses that are good unless something is said.
const GOOD: (u16, u16) = (200, 399);

impl Kind {
    fn keys(self) -> Vec<&'static str> {
        match self {
            Self::Tcp | Self::Udp => TALK.to_vec(),
            Self::Http => HTTP.to_vec(),
            Self::Https => [HTTP, TLS].concat(),
            Self::Dns => DNS.to_vec(),
            Self::Grpc => [GRPC, TLS].concat(),
            Self::Exec => EXEC.to_vec(),
        }
    }
}

/// The check of a probe's table.
pub(super) fn read(table: &Table<'_>, problems: &mut Problems) -> Result<Check, Reported> {
    let kind = table
        .get("type")
        .map_or(Ok(Kind::Tcp), |node| KINDS.read(node, problems))?;
    let strange = refuse_strange(table, kind, problems);
    let mut reader = Reader::new(table, problems);
    let check = match kind {
        Kind::Tcp => reader.talk().map(Check::Tcp),
        Kind::Udp => reader.datagram().map(Check::Udp),
        Kind::Http => reader.http().map(Check::Http),
        Kind::Https => reader.https().map(Check::Http),
        Kind::Dns => reader.dns().map(Check::Dns),
        Kind::Grpc => reader.grpc().map(Check::Grpc),
        Kind::Exec => reader.exec("command", COMMAND).map(Check::Exec),
    };
    strange.and(check)
}

/// Keys that probes of this type do not have.
fn refuse_strange(table: &Table<'_>, kind: Kind, problems: &mut Problems) -> Result<(), Reported> {
    let own = kind.keys();
    let mut result = Ok(());
    for key in &KEYS {
        let Some(node) = table.get(key).filter(|_| !own.contains(key)) else {
            continue;
        };
        let kinds = KINDS.words.iter().filter(|(_, it)| it.keys().contains(key));
        let kinds: Vec<&str> = kinds.map(|(word, _)| *word).collect();
        let message = format!(
            "`{key}` belongs to probes of type {}",
            table::listed(&kinds)
        );
        let finding = Finding::at(node.span, message);
        let hint = format!(
            "leave it out, or write `type: {}`",
            kinds.first().unwrap_or(&"tcp")
        );
        result = Err(problems.error(finding.hint(hint)));
    }
    result
}

/// Reads values of a table, and says what is wrong with them.
pub(in crate::config) struct Reader<'t, 'n, 'p> {
    table: &'t Table<'n>,
    problems: &'p mut Problems,
}

impl<'t, 'n, 'p> Reader<'t, 'n, 'p> {
    /// Of this table.
    pub(in crate::config) const fn new(table: &'t Table<'n>, problems: &'p mut Problems) -> Self {
        Self { table, problems }
    }

    fn talk(&mut self) -> Result<Talk, Reported> {
        let expect = self.pattern("expect", "expect_regex");
        Ok(Talk {
            send: self.text("send", "PING\\r\\n")?.map(str::to_owned),
            expect: expect?,
        })
    }

    /// Nobody answers what was not asked.
    fn datagram(&mut self) -> Result<Talk, Reported> {
        let needs = self.table.require("send", "send: \"ping\"", self.problems);
        let talk = self.talk();
        needs.and(talk)
    }

    fn https(&mut self) -> Result<Http, Reported> {
        let (tls, http) = (self.tls(), self.http());
        Ok(Http {
            tls: Some(tls?),
            ..http?
        })
    }

    fn http(&mut self) -> Result<Http, Reported> {
        let method = self.table.get("method");
        let method = method.map_or(Ok("GET"), |node| METHODS.read(node, self.problems));
        let path = self.checked("path", "/health", "a path such as `/health`", |text| {
            text.starts_with('/') && text.parse::<Uri>().is_ok()
        });
        let host = self.checked("host", "www.example.org", "a host's name", |text| {
            HeaderValue::from_str(text).is_ok() && !text.is_empty()
        });
        let (headers, status) = (self.headers(), self.status());
        let body = self.pattern("body", "body_regex");
        Ok(Http {
            tls: None,
            method: method?,
            path: path?.unwrap_or("/").to_owned(),
            host: host?.map(str::to_owned),
            headers: headers?,
            status: status?,
            body: body?,
        })
    }

    /// `verify`, `sni` and `ca`.
    pub(in crate::config) fn tls(&mut self) -> Result<Tls, Reported> {
        let verify = self.table.get("verify");
        let verify = verify.map_or(Ok(true), |node| {
            values::truth(node, "`verify`", self.problems)
        });
        let sni = self.checked("sni", "www.example.org", "a host's name", |text| {
            ServerName::try_from(text).is_ok()
        });
        let ca = self.checked("ca", "/etc/xlb/ca.pem", "an absolute path", |text| {
            text.starts_with('/')
        });
        Ok(Tls {
            verify: verify?,
            sni: sni?.map(str::to_owned),
            ca: ca?.map(Into::into),
        })
    }

    fn dns(&mut self) -> Result<Dns, Reported> {
        let example = "query: www.example.org";
        let needs = self.table.require("query", example, self.problems);
        let query = self.checked("query", "www.example.org", "a domain name", |text| {
            Name::new(text).is_ok()
        });
        let record = self.table.get("record");
        let record = record.map_or(Ok(A), |node| RECORDS.read(node, self.problems));
        let rcode = self.table.get("rcode");
        let rcode = rcode.map_or(Ok(NOERROR), |node| RCODES.read(node, self.problems));
        let answer = self.text("answer", "192.0.2.1");
        needs?;
        Ok(Dns {
            query: query?.unwrap_or_default().to_owned(),
            record: record?,
            rcode: rcode?,
            answer: answer?.map(str::to_owned),
        })
    }

    fn grpc(&mut self) -> Result<Grpc, Reported> {
        let wants = self.table.get("tls");
        let wants = wants.map_or(Ok(false), |node| {
            values::truth(node, "`tls`", self.problems)
        });
        let (service, tls) = (self.text("service", "my.package.Service"), self.tls());
        let (tls, wants) = (tls?, wants?);
        if let Some(node) = TLS.iter().find_map(|key| self.table.get(key))
            && !wants
        {
            let message = "a certificate is asked for, but not TLS";
            let finding = Finding::at(node.span, message).hint("add `tls: true`");
            return Err(self.problems.error(finding));
        }
        Ok(Grpc {
            tls: wants.then_some(tls),
            service: service?.unwrap_or_default().to_owned(),
        })
    }

    /// The command of a key, and `user`; `example` is a line that would do.
    pub(in crate::config) fn exec(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Result<Exec, Reported> {
        let user = self.text("user", NOBODY);
        let node = self.table.require(key, example, self.problems)?;
        let (what, word) = (format!("`{key}`"), format!("a word of `{key}`"));
        let words = values::list(node, &what, &format!("`{example}`"), self.problems)?;
        let words = words.iter();
        let words: Vec<_> = words
            .map(|node| values::text(node, &word, "--fast", self.problems))
            .collect();
        let words: Vec<&str> = words.into_iter().collect::<Result<_, _>>()?;
        let program = words.first().copied().unwrap_or_default();
        if !program.starts_with('/') {
            let message = format!(
                "the program is {}, expected an absolute path",
                quoted(program)
            );
            let finding = Finding::at(node.span, message).hint(format!("write `{example}`"));
            return Err(self.problems.error(finding));
        }
        Ok(Exec {
            command: words.into_iter().map(str::to_owned).collect(),
            user: user?.unwrap_or(NOBODY).to_owned(),
        })
    }

    fn text(&mut self, key: &str, example: &str) -> Result<Option<&'n str>, Reported> {
        let node = self.table.get(key);
        let read = |node| values::text(node, &format!("`{key}`"), example, self.problems);
        node.map(read).transpose()
    }

    /// Text that is as it should be.
    fn checked(
        &mut self,
        key: &str,
        example: &str,
        expected: &str,
        is_good: impl Fn(&str) -> bool,
    ) -> Result<Option<&'n str>, Reported> {
        let (Some(text), Some(node)) = (self.text(key, example)?, self.table.get(key)) else {
            return Ok(None);
        };
        if is_good(text) {
            return Ok(Some(text));
        }
        let message = format!("`{key}` is {}, expected {expected}", quoted(text));
        let finding = Finding::at(node.span, message);
        Err(self
            .problems
            .error(finding.hint(format!("write `{key}: {example}`, say"))))
    }

    /// Text, or a regular expression; not both.
    fn pattern(
        &mut self,
        text: &'static str,
        regex: &'static str,
    ) -> Result<Option<Pattern>, Reported> {
        if let (Some(one), Some(other)) = (self.table.get(text), self.table.get(regex)) {
            let message = format!("both `{text}` and `{regex}`");
            let finding = Finding::at(other.span, message).also(one.span, "and here");
            return Err(self.problems.error(finding.hint("leave one of them out")));
        }
        if let Some(found) = self.text(text, "ok")? {
            return Ok(Some(Pattern::Text(found.to_owned())));
        }
        let (Some(found), Some(node)) = (self.text(regex, "^ok$")?, self.table.get(regex)) else {
            return Ok(None);
        };
        match Expression::new(found) {
            Ok(expression) => Ok(Some(Pattern::Regex(expression))),
            Err(error) => {
                let message = format!("`{regex}` is no regular expression: {error}");
                let finding = Finding::at(node.span, message);
                Err(self.problems.error(finding.hint("`^ok$` would be one")))
            }
        }
    }

    /// `headers`, names in lower case.
    pub(in crate::config) fn headers(&mut self) -> Result<Vec<(String, String)>, Reported> {
        let Some(node) = self.table.get("headers") else {
            return Ok(Vec::new());
        };
        let Value::Table(written) = &node.value else {
            let finding = values::wrong_kind(node, "`headers`", "a table");
            let hint = "write `headers: { x-probe: xlb }`";
            return Err(self.problems.error(finding.hint(hint)));
        };
        let headers: Vec<_> = written
            .iter()
            .map(|(name, value)| self.header(name, value))
            .collect();
        headers.into_iter().collect()
    }

    fn header(&mut self, name: &Node, value: &Node) -> Result<(String, String), Reported> {
        let read = |node, what, problems: &mut Problems| values::text(node, what, "xlb", problems);
        let written = read(name, "the name of a header", self.problems)?;
        let content = read(value, "a header", self.problems)?;
        let known = HeaderName::from_bytes(written.as_bytes());
        match known {
            Ok(name) if name != "host" && HeaderValue::from_str(content).is_ok() => {
                Ok((name.as_str().to_owned(), content.to_owned()))
            }
            Ok(name) if name == "host" => {
                let finding = Finding::at(value.span, "`host` among `headers`");
                Err(self
                    .problems
                    .error(finding.hint("write `host:` beside `headers:`")))
            }
            Ok(_) | Err(_) => {
                let message = format!("{}: {} is no header", quoted(written), quoted(content));
                let finding = Finding::at(name.span, message);
                let hint = "names have letters, digits and `-`; values have no line breaks";
                Err(self.problems.error(finding.hint(hint)))
            }
        }
    }

    /// `200`, `200-299`, or several.
    fn status(&mut self) -> Result<Vec<(u16, u16)>, Reported> {
        let Some(node) = self.table.get("status") else {
            return Ok(vec![GOOD]);
        };
        let written: Vec<&Node> = match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        let ranges: Option<Vec<(u16, u16)>> = written.into_iter().map(status_range).collect();
        ranges.filter(|ranges| !ranges.is_empty()).ok_or_else(|| {
            let written = quoted(self.problems.source().slice(node.span));
            let message = format!("`status` is {written}, expected statuses from 100 to 599");
            let finding = Finding::at(node.span, message);
            self.problems
                .error(finding.hint("write `status: 200`, or `status: [200-299, 404]`"))
        })
    }
}

fn status_range(node: &Node) -> Option<(u16, u16)> {
    let (first, last) = match &node.value {
        Value::Integer(number) => {
            let status = u16::try_from(*number).ok()?;
            (status, status)
        }
        Value::Text(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            (first.trim().parse().ok()?, last.trim().parse().ok()?)
        }
        _ => return None,
    };
    (100 <= first && first <= last && last <= 599).then_some((first, last))
}
