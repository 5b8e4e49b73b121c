//! Single values: text, whole numbers, durations, one of a few words.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use super::{
    address::AddressError,
    problems::{Finding, Problems, Reported},
    raw::{Node, Value},
    source::{Span, Spanned},
    table,
};

/// Text; `example` is what a good value looks like.
pub(super) fn text<'a>(
    node: &'a Node,
    what: &str,
    example: &str,
    problems: &mut Problems,
) -> Result<&'a str, Reported> {
    match &node.value {
        Value::Text(text) => Ok(text),
        Value::Bool(_) | Value::Integer(_) | Value::Float => {
            let written = problems.source().slice(node.span).to_owned();
            let finding = wrong_kind(node, what, "text");
            Err(problems.error(finding.hint(format!("if it is meant as text: \"{written}\""))))
        }
        Value::Null | Value::List(_) | Value::Table(_) => {
            let finding = wrong_kind(node, what, &format!("text such as `{example}`"));
            Err(problems.error(finding))
        }
    }
}

/// A name: it stands in command lines, paths of the API and labels of metrics.
pub(super) fn name(
    node: &Node,
    what: &str,
    problems: &mut Problems,
) -> Result<Spanned<String>, Reported> {
    const MAX_BYTES: usize = 128;
    let name = text(node, &format!("the name of {what}"), "web", problems)?;
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if (1..=MAX_BYTES).contains(&name.len()) && !name.contains(is_bad) {
        return Ok(Spanned {
            value: name.to_owned(),
            span: node.span,
        });
    }
    let message = format!("{} is not a name of {what}", quoted(name));
    let hint = format!("1 to {MAX_BYTES} bytes without spaces and `/`");
    Err(problems.error(Finding::at(node.span, message).hint(hint)))
}

/// An address, read by `parse`; mistakes are shown at the part that is wrong.
pub(super) fn address<T>(
    node: &Node,
    what: &str,
    example: &str,
    parse: impl FnOnce(&str) -> Result<T, AddressError>,
    problems: &mut Problems,
) -> Result<Spanned<T>, Reported> {
    if is_bare_bracket_address(node) {
        return Err(problems.error(unquoted_address(node.span)));
    }
    match parse(text(node, what, example, problems)?) {
        Ok(value) => Ok(Spanned {
            value,
            span: node.span,
        }),
        Err(error) => {
            let part = problems.source().narrow(node.span, error.part());
            let finding = Finding::at(part, error.to_string()).hint(error.hint());
            Err(problems.error(finding))
        }
    }
}

/// A whole number in `range`.
pub(super) fn number<T>(
    node: &Node,
    what: &str,
    range: RangeInclusive<T>,
    problems: &mut Problems,
) -> Result<Spanned<T>, Reported>
where
    T: Copy + Display + PartialOrd + TryFrom<i128>,
{
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    let Value::Integer(number) = node.value else {
        let finding = wrong_kind(node, what, &expected);
        let is_text = matches!(node.value, Value::Text(_));
        return Err(problems.error(finding.hint_if_any(
            is_text.then(|| "write the digits without quotes and units".to_owned()),
        )));
    };
    match T::try_from(number) {
        Ok(value) if range.contains(&value) => Ok(Spanned {
            value,
            span: node.span,
        }),
        Ok(_) | Err(_) => {
            let written = quoted(problems.source().slice(node.span));
            let message = format!("{what} is {written}, expected {expected}");
            let bounds = format!("take one from {} to {}", range.start(), range.end());
            Err(problems.error(
                Finding::at(node.span, message)
                    .label("out of range")
                    .hint(bounds),
            ))
        }
    }
}

/// The number of a part such as `50%`, of 1 to 100.
pub(super) fn percent(text: &str) -> Option<u32> {
    let percent = text.strip_suffix('%')?.parse().ok()?;
    (1..=100).contains(&percent).then_some(percent)
}

/// `true` or `false`.
pub(super) fn truth(node: &Node, what: &str, problems: &mut Problems) -> Result<bool, Reported> {
    match node.value {
        Value::Bool(truth) => Ok(truth),
        _ => Err(problems.error(wrong_kind(node, what, "`true` or `false`"))),
    }
}

/// A duration such as `200ms` or `1s`; at least [`MIN_DURATION`], at most [`MAX_DURATION`].
pub(super) fn duration(
    node: &Node,
    what: &str,
    problems: &mut Problems,
) -> Result<Spanned<Duration>, Reported> {
    const EXPECTED: &str = "a duration such as `200ms` or `1s`";
    let Value::Text(text) = &node.value else {
        let hint = match node.value {
            Value::Integer(number) => Some(format!("add the unit: `{number}s` or `{number}ms`")),
            _ => None,
        };
        return Err(problems.error(wrong_kind(node, what, EXPECTED).hint_if_any(hint)));
    };
    let finding = match humantime::parse_duration(text) {
        Ok(value) if (MIN_DURATION..=MAX_DURATION).contains(&value) => {
            let span = node.span;
            return Ok(Spanned { value, span });
        }
        Ok(_) => Finding::at(
            node.span,
            format!("{what} is {}, expected 1ms to 1day", quoted(text)),
        )
        .label("out of range")
        .hint("`200ms` to `10s` are usual"),
        Err(error) => {
            let message = format!("{what} is {}, expected {EXPECTED}", quoted(text));
            Finding::at(node.span, message)
                .label(duration_label(&error))
                .hint("units: ms, s, m, h")
        }
    };
    Err(problems.error(finding))
}

fn duration_label(error: &humantime::DurationError) -> String {
    match error {
        humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
            "no unit".to_owned()
        }
        humantime::DurationError::UnknownUnit { unit, .. } => {
            format!("unknown unit {}", quoted(unit))
        }
        error => error.to_string(),
    }
}

/// Shorter ones would keep a processor busy with nothing but probes.
const MIN_DURATION: Duration = Duration::from_millis(1);

/// Longer ones are slips of the unit.
const MAX_DURATION: Duration = Duration::from_hours(24);

/// The items of a list that has at least one.
pub(super) fn list<'a>(
    node: &'a Node,
    what: &str,
    example: &str,
    problems: &mut Problems,
) -> Result<&'a [Node], Reported> {
    let Value::List(items) = &node.value else {
        let finding = wrong_kind(node, what, "a list").hint(format!("write {example}"));
        return Err(problems.error(finding));
    };
    if items.is_empty() {
        let message = format!("{what} is empty, expected at least one entry");
        return Err(
            problems.error(Finding::at(node.span, message).hint(format!("write {example}")))
        );
    }
    Ok(items)
}

/// One of a few words, and what it means.
pub(super) struct Choice<T: 'static> {
    /// What a message calls the key.
    pub(super) what: &'static str,
    /// Words that this version knows.
    pub(super) words: &'static [(&'static str, T)],
    /// Words of the field, or of the plan, that this version does not implement.
    pub(super) unsupported: &'static [&'static str],
}

impl<T: Copy> Choice<T> {
    pub(super) fn read(&self, node: &Node, problems: &mut Problems) -> Result<T, Reported> {
        let names: Vec<_> = self.words.iter().map(|(name, _)| *name).collect();
        let word = text(node, self.what, names.first().unwrap_or(&""), problems)?;
        if let Some((_, meaning)) = self.words.iter().find(|(name, _)| *name == word) {
            return Ok(*meaning);
        }
        Err(problems.error(self.refuse(word, &names, node.span)))
    }

    /// That a word is none of these.
    pub(super) fn refuse(&self, word: &str, names: &[&'static str], span: Span) -> Finding {
        let Self {
            what, unsupported, ..
        } = self;
        let known = table::listed(names);
        if unsupported.contains(&word) {
            let message = format!("{what} `{word}` is not in this version, expected {known}");
            return Finding::at(span, message)
                .label("not in this version")
                .hint(format!("write {known}, or leave the key out"));
        }
        let finding = Finding::at(
            span,
            format!("unknown {what} {}, expected {known}", quoted(word)),
        )
        .hint(format!("write {known}, or leave the key out"));
        match table::nearest(word, names) {
            Some(meant) => finding.label(format!("did you mean `{meant}`?")),
            None => finding,
        }
    }
}

/// `what` is of another kind than it should be.
pub(super) fn wrong_kind(node: &Node, what: &str, expected: &str) -> Finding {
    let message = format!("{what} is {}, expected {expected}", node.kind());
    let finding = Finding::at(node.span, message);
    match node.value {
        Value::Null => finding.hint("give it a value, or leave the key out to get its default"),
        _ => finding.hint(format!("write {expected}")),
    }
}

/// Whether this is what YAML makes of `[2001:db8::1]` without quotes: a list of one text.
pub(super) fn is_bare_bracket_address(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => match items.as_slice() {
            [
                Node {
                    value: Value::Text(text),
                    ..
                },
            ] => text.contains("::") || text.matches(':').count() > 1,
            _ => false,
        },
        Value::Table(entries) => entries.iter().any(|(key, _)| is_bare_bracket_address(key)),
        _ => false,
    }
}

/// An IPv6 address that YAML takes for a list.
pub(super) fn unquoted_address(span: Span) -> Finding {
    Finding::at(
        span,
        "an address in brackets without quotes is a list to YAML",
    )
    .hint("quote it: \"[2001:db8::10]:443\"")
}

/// The user's own text in backticks, printable and short enough for a message.
pub(super) fn quoted(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut shown: String = text
        .chars()
        .take(MAX_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('…');
    }
    // Single quotes need no escape inside of backticks.
    format!("`{}`", shown.replace("\\'", "'").replace("\\\"", "\""))
}
