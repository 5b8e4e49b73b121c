//! What is wrong with a file, gathered while it is read.

use std::sync::Arc;

use super::{
    diagnostic::{Diagnostic, Label, Report, Severity},
    source::{Source, Span},
};

/// Proof that a mistake was reported: only [`Problems::error`] makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

/// One mistake or note, before its place is known by line and column.
#[derive(Debug)]
#[must_use]
pub(super) struct Finding {
    message: String,
    /// The first is where the mistake stands, the others are what it is in conflict with.
    labels: Vec<(Span, String)>,
    hint: Option<String>,
}

impl Finding {
    pub(super) fn at(span: Span, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            labels: vec![(span, String::new())],
            hint: None,
        }
    }

    /// What is written beside the caret.
    pub(super) fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.labels.first_mut() {
            first.1 = text.into();
        }
        self
    }

    /// Another place that has to do with it.
    pub(super) fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    /// What to do.
    pub(super) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    pub(super) fn hint_if_any(mut self, text: Option<String>) -> Self {
        self.hint = text.or(self.hint);
        self
    }
}

/// Most mistakes of a file that are listed; the rest is counted.
const MAX_LISTED: usize = 1000;

/// The mistakes and notes found so far.
#[derive(Debug)]
pub(super) struct Problems {
    source: Arc<Source>,
    errors: Vec<(usize, Diagnostic)>,
    notes: Vec<Diagnostic>,
    unlisted: usize,
}

impl Problems {
    pub(super) const fn new(source: Arc<Source>) -> Self {
        Self {
            source,
            errors: Vec::new(),
            notes: Vec::new(),
            unlisted: 0,
        }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn error(&mut self, finding: Finding) -> Reported {
        if self.errors.len() < MAX_LISTED {
            let offset = finding.labels.first().map_or(0, |(span, _)| span.start);
            let diagnostic = self.place(Severity::Error, finding);
            self.errors.push((offset, diagnostic));
        } else {
            self.unlisted += 1;
        }
        Reported(())
    }

    pub(super) fn note(&mut self, finding: Finding) {
        if self.notes.len() < MAX_LISTED {
            let diagnostic = self.place(Severity::Note, finding);
            self.notes.push(diagnostic);
        }
    }

    /// What was read and the notes on it, if nothing was wrong.
    pub(super) fn finish<T>(
        self,
        read: Result<T, Reported>,
    ) -> Result<(T, Vec<Diagnostic>), Report> {
        match read {
            Ok(value) if self.errors.is_empty() => Ok((value, self.notes)),
            Ok(_) | Err(Reported(())) => Err(self.into_report()),
        }
    }

    /// All mistakes in the order of their places.
    pub(super) fn into_report(mut self) -> Report {
        self.errors.sort_by_key(|(offset, _)| *offset);
        let diagnostics = self.errors.into_iter().map(|(_, diagnostic)| diagnostic);
        Report::new(self.source.name(), diagnostics.collect(), self.unlisted)
    }

    fn place(&self, severity: Severity, finding: Finding) -> Diagnostic {
        let labels = finding.labels.into_iter().map(|(span, message)| {
            let span = self.source.displayable(span);
            let (line, column) = self.source.line_and_column(span.start);
            Label::new(line, column, message, span)
        });
        Diagnostic::new(
            severity,
            finding.message,
            labels.collect(),
            finding.hint,
            Arc::clone(&self.source),
        )
    }
}
