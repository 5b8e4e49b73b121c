//! Mistakes as they are shown.

use std::{error::Error, fmt, sync::Arc};

use serde::{Serialize, Serializer};

use super::{
    render,
    source::{Source, Span},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// Nothing is wrong, but it may surprise.
    Note,
}

/// A place in the file, and what is said about it.
#[derive(Clone, Debug, Serialize)]
pub struct Label {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What stands beside the caret; may be empty.
    pub message: String,
    #[serde(skip)]
    pub(super) span: Span,
}

impl Label {
    pub(super) const fn new(line: usize, column: usize, message: String, span: Span) -> Self {
        Self {
            line,
            column,
            message,
            span,
        }
    }
}

/// One mistake or note, with its place.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What was found and what was expected.
    pub message: String,
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The text that it is about, as it stands in the file; at most one line.
    pub text: String,
    /// All places: first the one above, then those it is in conflict with.
    pub labels: Vec<Label>,
    /// What to do.
    pub hint: Option<String>,
    #[serde(skip)]
    source: Arc<Source>,
}

impl Diagnostic {
    /// `labels` has at least one entry.
    pub(super) fn new(
        severity: Severity,
        message: String,
        labels: Vec<Label>,
        hint: Option<String>,
        source: Arc<Source>,
    ) -> Self {
        let first = labels.first();
        Self {
            severity,
            message,
            file: source.name().to_owned(),
            line: first.map_or(1, |label| label.line),
            column: first.map_or(1, |label| label.column),
            text: first
                .map_or("", |label| source.slice(label.span))
                .to_owned(),
            labels,
            hint,
            source,
        }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Message, place, the lines of the file with carets, and the hint; ends without a newline.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        render::diagnostic(self, color)
    }
}

/// Everything that is wrong with a file; at least one diagnostic.
#[derive(Clone, Debug)]
pub struct Report {
    file: String,
    diagnostics: Vec<Diagnostic>,
    unlisted: usize,
}

impl Report {
    pub(super) fn new(file: &str, diagnostics: Vec<Diagnostic>, unlisted: usize) -> Self {
        Self {
            file: file.to_owned(),
            diagnostics,
            unlisted,
        }
    }

    /// Name of the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The mistakes in the order of their places; of very many only the first thousand found.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many mistakes there are, with those that are not listed.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.diagnostics.len() + self.unlisted
    }

    /// All diagnostics and a last line `N problems in FILE`; ends with a newline.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(&diagnostic.render(color));
            text.push_str("\n\n");
        }
        text.push_str(&self.summary());
        text.push('\n');
        text
    }

    fn summary(&self) -> String {
        let Self { file, unlisted, .. } = self;
        let listed = match unlisted {
            0 => String::new(),
            _ => format!(", {} of them listed", self.diagnostics.len()),
        };
        match self.count() {
            1 => format!("1 problem in {file}"),
            count => format!("{count} problems in {file}{listed}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl Error for Report {}

/// A list of its diagnostics.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.diagnostics.serialize(serializer)
    }
}
