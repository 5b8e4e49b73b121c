//! The text of a file, and places in it.

use std::sync::OnceLock;

use super::problems::Finding;

/// The largest file that is read, in bytes: enough for 100,000 backends in the long form.
pub const MAX_BYTES: usize = 16 << 20;

/// A range of bytes of a [`Source`]; ends on character boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// The first place of every file.
    pub(super) const START: Self = Self { start: 0, end: 0 };

    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T> Spanned<T> {
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: f(self.value),
            span: self.span,
        }
    }
}

/// A file: its name and its text, at most [`MAX_BYTES`].
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: String,
    /// Where each line begins; found when a place is first asked for.
    line_starts: OnceLock<Vec<usize>>,
}

impl Source {
    /// A file of which nothing is known but its name.
    pub(super) fn empty(name: &str) -> Self {
        Self::new(name, String::new())
    }

    fn new(name: &str, text: String) -> Self {
        Self {
            name: name.to_owned(),
            text,
            line_starts: OnceLock::new(),
        }
    }

    /// Makes text of bytes. What is no text is still shown: U+FFFD for each bad sequence.
    pub(super) fn decode(name: &str, bytes: &[u8]) -> (Self, Result<(), Finding>) {
        if bytes.len() > MAX_BYTES {
            return (Self::empty(name), Err(too_large()));
        }
        // A byte order mark has no width in an editor, so it must not shift the columns.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let decoded = std::str::from_utf8(bytes).map_err(|error| not_text(error.valid_up_to()));
        let text = String::from_utf8_lossy(bytes).into_owned();
        (Self::new(name, text), decoded.map(|_| ()))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text in `span`; empty if there is no such place.
    pub(super) fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Line and column, both from 1, columns in characters.
    pub(super) fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let starts = self.line_starts.get_or_init(|| {
            let newlines = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(newlines).collect()
        });
        let line = starts.partition_point(|start| *start <= offset);
        let start = starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.slice(Span::new(start, offset)).chars().count() + 1;
        (line, column)
    }

    /// The whole line around `offset`, without its end.
    pub(super) fn line_around(&self, offset: usize) -> Span {
        let start = self
            .slice(Span::new(0, offset))
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let rest = self.slice(Span::new(offset, self.text.len()));
        let end = offset + rest.find(['\n', '\r']).unwrap_or(rest.len());
        Span::new(start, end)
    }

    /// The nearest place that can be shown: inside the text, on one line, not behind its last line.
    pub(super) fn displayable(&self, span: Span) -> Span {
        let last = self.text.trim_end_matches(['\n', '\r']).len();
        let start = self.text.floor_char_boundary(span.start.min(last));
        let line_end = self.line_around(start).end;
        let end = self.text.floor_char_boundary(span.end.min(line_end));
        Span::new(start, end.max(start))
    }

    /// Where `part` stands in `span`, the last time; all of `span` if it does not.
    pub(super) fn narrow(&self, span: Span, part: &str) -> Span {
        let found = self.slice(span).rfind(part).filter(|_| !part.is_empty());
        found.map_or(span, |at| {
            Span::new(span.start + at, span.start + at + part.len())
        })
    }
}

fn too_large() -> Finding {
    let limit = MAX_BYTES >> 20;
    Finding::at(
        Span::START,
        format!("the file is too large, expected at most {limit} MiB"),
    )
    .hint("is this the right file? 100,000 backends fit in one of this size")
}

fn not_text(offset: usize) -> Finding {
    // The replacement character that stands here in the decoded text has three bytes.
    Finding::at(Span::new(offset, offset + 3), "the file is not UTF-8")
        .label("the first bytes that are no text")
        .hint("save the file as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        let (source, decoded) = Source::decode("xlb.yaml", text.as_bytes());
        decoded.unwrap();
        source
    }

    #[test]
    fn columns_count_characters() {
        let source = source("a\né: x\n");
        assert_eq!(source.line_and_column(0), (1, 1));
        assert_eq!(source.line_and_column(2), (2, 1));
        assert_eq!(source.line_and_column(4), (2, 2));
    }

    #[test]
    fn the_end_of_a_file_is_shown_on_its_last_line() {
        let source = source("a: b\n\n");
        let end = source.displayable(Span::new(6, 6));
        assert_eq!(source.line_and_column(end.start), (1, 5));
    }

    #[test]
    fn long_values_are_shown_by_their_first_line() {
        let source = source("a: [b,\n  c]\n");
        let shown = source.displayable(Span::new(3, 11));
        assert_eq!(source.slice(shown), "[b,");
    }

    #[test]
    fn parts_are_found_from_behind() {
        let source = source("80.0.0.80:80");
        let all = Span::new(0, 12);
        assert_eq!(source.narrow(all, "80"), Span::new(10, 12));
        assert_eq!(source.narrow(all, "81"), all);
    }
}
