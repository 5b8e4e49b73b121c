//! Tables with a fixed set of keys.

use std::collections::HashMap;

use super::{
    problems::{Finding, Problems, Reported},
    raw::{Node, Value},
    source::Span,
    values,
};

/// A table whose keys are known; what is unknown or doubled was reported when it was opened.
pub(super) struct Table<'a> {
    /// What a message calls it.
    what: &'a str,
    span: Span,
    entries: HashMap<&'static str, &'a Node>,
}

impl<'a> Table<'a> {
    /// # Errors
    /// `node` is no table. Mistakes in keys are reported, but do not keep the rest from being read.
    pub(super) fn open(
        node: &'a Node,
        what: &'a str,
        keys: &[&'static str],
        problems: &mut Problems,
    ) -> Result<Self, Reported> {
        let Value::Table(written) = &node.value else {
            let finding = values::wrong_kind(node, what, "a table");
            return Err(problems.error(finding.hint(known_keys(keys))));
        };
        let mut reader = KeyReader {
            what,
            keys,
            entries: HashMap::new(),
            guessed: Vec::new(),
        };
        for (key, value) in written {
            reader.read(key, value, problems);
        }
        Ok(Self {
            what,
            span: node.span,
            entries: reader.finish(),
        })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.get(key).copied()
    }

    /// The value of a key that must be there; `example` is a line that would do.
    pub(super) fn require(
        &self,
        key: &'static str,
        example: &str,
        problems: &mut Problems,
    ) -> Result<&'a Node, Reported> {
        self.get(key).ok_or_else(|| {
            problems.error(
                Finding::at(self.span, format!("{} has no `{key}`", self.what))
                    .hint(format!("add `{example}`")),
            )
        })
    }
}

struct KeyReader<'a, 'k> {
    what: &'a str,
    keys: &'k [&'static str],
    entries: HashMap<&'static str, (Span, &'a Node)>,
    /// Values of misspelled keys: read all the same, so that one slip is one mistake.
    guessed: Vec<(&'static str, &'a Node)>,
}

impl<'a> KeyReader<'a, '_> {
    fn read(&mut self, key: &Node, value: &'a Node, problems: &mut Problems) {
        let Value::Text(name) = &key.value else {
            problems.error(not_a_key(key, value, self.what));
            return;
        };
        let Some(known) = self.keys.iter().find(|known| *known == name) else {
            self.unknown(name, key.span, value, problems);
            return;
        };
        match self.entries.get(known) {
            Some((first, _)) => {
                problems.error(doubled(name, key.span, *first, self.what));
            }
            None => {
                self.entries.insert(known, (key.span, value));
            }
        }
    }

    fn unknown(&mut self, name: &str, span: Span, value: &'a Node, problems: &mut Problems) {
        let message = format!("unknown key {} in {}", values::quoted(name), self.what);
        let finding = Finding::at(span, message);
        let finding = match nearest(name, self.keys) {
            Some(meant) => {
                self.guessed.push((meant, value));
                finding.label(format!("did you mean `{meant}`?"))
            }
            None => finding.label("not known here"),
        };
        problems.error(finding.hint(known_keys(self.keys)));
    }

    fn finish(self) -> HashMap<&'static str, &'a Node> {
        let written = self.entries.into_iter().map(|(key, (_, node))| (key, node));
        // What is written as it should be wins over what is guessed.
        self.guessed.into_iter().chain(written).collect()
    }
}

fn doubled(name: &str, span: Span, first: Span, what: &str) -> Finding {
    Finding::at(span, format!("key `{name}` twice in {what}"))
        .label("again here")
        .also(first, "first here")
        .hint("remove one of them")
}

fn not_a_key(key: &Node, value: &Node, what: &str) -> Finding {
    if values::is_bare_bracket_address(key) {
        let span = Span::new(key.span.start, value.span.end);
        return values::unquoted_address(span);
    }
    let message = format!("a key of {what} is {}, expected text", key.kind());
    Finding::at(key.span, message).hint("write keys as plain words")
}

fn known_keys(keys: &[&str]) -> String {
    format!("known keys: {}", listed(keys))
}

/// The known word that `word` was meant to be.
pub(super) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    /// Longer ones are no misspelled words.
    const MAX_LEN: usize = 32;
    if word.len() > MAX_LEN {
        return None;
    }
    let distances = known.iter().map(|known| {
        let distance = strsim::damerau_levenshtein(&word.to_lowercase(), known);
        (distance, *known)
    });
    let (distance, meant) = distances.min_by_key(|(distance, _)| *distance)?;
    // A third of the letters wrong is still the same word; two of four are another one.
    (distance <= meant.len().div_ceil(3)).then_some(meant)
}

/// `a, b, c`, each in backticks.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["name", "vip", "mode", "slots", "backends"];
        for (written, meant) in [
            ("backend", Some("backends")),
            ("bakcends", Some("backends")),
            ("VIP", Some("vip")),
            ("slot", Some("slots")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, &known), meant, "{written}");
        }
    }
}
