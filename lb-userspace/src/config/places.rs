//! Where each value of a YAML text stands.
//!
//! `serde_yaml` tells values, but places only of mistakes; `saphyr-parser` tells the place of every
//! event. Both read the same text in the same order, so a list of places is all that is needed to
//! join them. What could keep a reader busy (nesting, aliases that grow) is refused here, before
//! `serde_yaml` sees the text.

use std::{collections::HashMap, ops::Range};

use saphyr_parser::{Event, Marker, Parser};

use super::{
    problems::Finding,
    source::{Source, Span},
};

/// Deeper than any configuration, and cheap for every reader.
const MAX_DEPTH: usize = 32;

/// Values of a file with aliases written out: twice what 100,000 backends in the long form need.
const MAX_NODES: usize = 2_000_000;

/// The places of all values in the order in which they are read: a list or a table before what it
/// holds, a key before its value, and for an alias one place (its own) for each value it stands for.
pub(super) fn find(source: &Source) -> Result<Vec<Span>, Finding> {
    let mut places = Places::new(source);
    let mut parser = Parser::new_from_str(source.text());
    while let Some(event) = parser.next_event() {
        let (event, marks) = event.map_err(|error| places.syntax_error(&error))?;
        let span = places.offsets.span(marks.start, marks.end);
        places.follow(&event, span)?;
    }
    if places.spans.is_empty() {
        return Err(empty());
    }
    Ok(places.spans)
}

/// A list or table whose end was not seen yet.
struct Open {
    index: usize,
    anchor: usize,
}

struct Places<'a> {
    source: &'a Source,
    offsets: Offsets<'a>,
    spans: Vec<Span>,
    open: Vec<Open>,
    /// By number: the values that an anchor names, as a range of `spans`.
    anchors: HashMap<usize, Range<usize>>,
    documents: usize,
}

impl<'a> Places<'a> {
    fn new(source: &'a Source) -> Self {
        Self {
            source,
            offsets: Offsets::new(source.text()),
            spans: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            documents: 0,
        }
    }

    fn follow(&mut self, event: &Event<'_>, span: Span) -> Result<(), Finding> {
        match event {
            Event::DocumentStart(_) => self.start_document(span),
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => Err(tagged(span)),
            Event::Scalar(_, _, anchor, None) => self.scalar(*anchor, span),
            Event::SequenceStart(anchor, None) | Event::MappingStart(anchor, None) => {
                self.start(*anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(span);
                Ok(())
            }
            Event::Alias(anchor) => self.alias(*anchor, span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn start_document(&mut self, span: Span) -> Result<(), Finding> {
        self.documents += 1;
        match self.documents {
            1 => Ok(()),
            _ => Err(
                Finding::at(span, "a second document begins here, expected one")
                    .hint("remove the `---` line, or put each document into a file of its own"),
            ),
        }
    }

    fn scalar(&mut self, anchor: usize, span: Span) -> Result<(), Finding> {
        let index = self.spans.len();
        self.push(span, 1)?;
        self.name(anchor, index);
        Ok(())
    }

    fn start(&mut self, anchor: usize, span: Span) -> Result<(), Finding> {
        if self.open.len() == MAX_DEPTH {
            return Err(
                Finding::at(span, format!("nested deeper than {MAX_DEPTH} levels"))
                    .hint("a configuration needs 6 levels; is this the right file?"),
            );
        }
        let index = self.spans.len();
        self.open.push(Open { index, anchor });
        self.push(span, 1)
    }

    /// A list in brackets ends with them; of one that is told by indentation the first entry stands
    /// for the whole.
    fn end(&mut self, end: Span) {
        let Some(Open { index, anchor }) = self.open.pop() else {
            return;
        };
        let first_child = self.spans.get(index + 1).copied();
        if let Some(span) = self.spans.get_mut(index) {
            if end.end > end.start {
                span.end = end.end;
            } else if let Some(child) = first_child {
                *span = child;
            }
        }
        self.name(anchor, index);
    }

    /// Remembers what an anchor stands for: all values from `index` on.
    fn name(&mut self, anchor: usize, index: usize) {
        /// How `saphyr-parser` numbers a value without an anchor.
        const NONE: usize = 0;
        if anchor != NONE {
            self.anchors.insert(anchor, index..self.spans.len());
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Finding> {
        let Some(values) = self.anchors.get(&anchor) else {
            return Err(Finding::at(span, "an alias inside of what it stands for")
                .hint("write the value out"));
        };
        self.push(span, values.len())
    }

    fn push(&mut self, span: Span, count: usize) -> Result<(), Finding> {
        let total = self.spans.len() + count;
        if total > MAX_NODES {
            return Err(
                Finding::at(span, format!("more than {MAX_NODES} values up to here"))
                    .hint("use fewer aliases, or split the configuration"),
            );
        }
        self.spans.resize(total, span);
        Ok(())
    }

    fn syntax_error(&self, error: &saphyr_parser::ScanError) -> Finding {
        let start = self.offsets.byte(error.marker().index());
        syntax_error(self.source, start, error.info())
    }
}

/// A mistake of YAML itself at byte `start`, with a hint for the usual ones.
pub(super) fn syntax_error(source: &Source, start: usize, info: &str) -> Finding {
    let length = source
        .text()
        .get(start..)
        .and_then(|rest| rest.chars().next());
    let span = Span::new(start, start + length.map_or(0, char::len_utf8));
    let hint = hint_by_cause(info).unwrap_or_else(|| hint_by_line(source, start));
    Finding::at(span, format!("not YAML: {info}")).hint(hint)
}

fn hint_by_cause(info: &str) -> Option<&'static str> {
    let hints = [
        (
            "end of stream",
            "close the quote or bracket that opens here",
        ),
        (
            "illegal placement of ':'",
            "close the bracket that is open in a line above",
        ),
        (
            "recursion limit",
            "a configuration needs 6 levels; is this the right file?",
        ),
        (
            "unknown anchor",
            "name the value with `&` before `*` stands for it, or write it out",
        ),
    ];
    hints
        .iter()
        .find_map(|(cause, hint)| info.contains(cause).then_some(*hint))
}

fn hint_by_line(source: &Source, start: usize) -> &'static str {
    let line = source.slice(source.line_around(start));
    let indent = line.len() - line.trim_start().len();
    if line
        .get(..indent)
        .is_some_and(|indent| indent.contains('\t'))
    {
        "indent with spaces, YAML allows no tabs there"
    } else if line.contains("]:") {
        "quote what begins with a bracket: \"[2001:db8::10]:443\""
    } else if line.contains('\t') {
        "use spaces, YAML allows tabs hardly anywhere"
    } else if line.matches(": ").count() > 1 {
        "quote text that contains `: `"
    } else {
        "look at indentation, brackets, quotes and the space behind `:`, here and in the line above"
    }
}

fn tagged(span: Span) -> Finding {
    Finding::at(span, "a tag (`!…`), expected a plain value")
        .hint("remove the tag; quote the value if it is meant as text")
}

fn empty() -> Finding {
    Finding::at(Span::START, "the file is empty, expected a configuration")
        .hint("the smallest one: interfaces: [eth0], and services with name, vip and backends")
}

/// From characters, in which `saphyr-parser` counts, to bytes.
struct Offsets<'a> {
    text: &'a str,
    /// The byte of every [`Self::STEP`]th character.
    steps: Vec<usize>,
}

impl<'a> Offsets<'a> {
    const STEP: usize = 64;

    fn new(text: &'a str) -> Self {
        let bytes = text.char_indices().map(|(byte, _)| byte);
        Self {
            text,
            steps: bytes.step_by(Self::STEP).collect(),
        }
    }

    fn byte(&self, character: usize) -> usize {
        let step = self.steps.get(character / Self::STEP).copied();
        let rest = step.and_then(|step| Some((step, self.text.get(step..)?)));
        let found = rest.and_then(|(step, rest)| {
            let (byte, _) = rest.char_indices().nth(character % Self::STEP)?;
            Some(step + byte)
        });
        found.unwrap_or(self.text.len())
    }

    fn span(&self, start: Marker, end: Marker) -> Span {
        Span::new(self.byte(start.index()), self.byte(end.index()))
    }
}
