//! Diagnostics as text for people.

use annotate_snippets::{
    Annotation, AnnotationKind, Element, Group, Level, Message, Origin, Renderer, Snippet,
};

use super::{
    diagnostic::{Diagnostic, Label, Severity},
    source::{Source, Span},
};

/// Lines that stand further apart than this many bytes are shown as separate snippets, so that the
/// cost of a diagnostic does not grow with the file.
const MAX_EXCERPT: usize = 64 << 10;

/// What is shown of a long line before and behind the place.
const MARGIN: usize = 400;

pub(super) fn diagnostic(diagnostic: &Diagnostic, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Note => Level::NOTE,
    };
    let group = Group::with_title(level.primary_title(&diagnostic.message))
        .elements(excerpts(diagnostic))
        .elements(diagnostic.hint.as_deref().map(hint));
    renderer.render(&[group])
}

fn hint(text: &str) -> Message<'_> {
    Level::HELP.with_name("hint").message(text)
}

fn excerpts(diagnostic: &Diagnostic) -> Vec<Element<'_>> {
    let Diagnostic { file, labels, .. } = diagnostic;
    let source = diagnostic.source();
    let lines = lines_around(source, labels);
    if source.text().is_empty() {
        vec![origin(file, diagnostic.line, diagnostic.column).into()]
    } else if lines.end - lines.start <= MAX_EXCERPT {
        let snippet = snippet(source, lines, labels, AnnotationKind::Primary);
        vec![snippet.path(file.as_str()).into()]
    } else {
        let kinds = [AnnotationKind::Primary].into_iter();
        let kinds = kinds.chain(std::iter::repeat(AnnotationKind::Context));
        let labels = labels.iter().zip(kinds);
        labels
            .flat_map(|(label, kind)| separate(file, source, label, kind))
            .collect()
    }
}

/// A label with no other line than its own, of which as much as can be shown.
fn separate<'a>(
    file: &'a str,
    source: &'a Source,
    label: &'a Label,
    kind: AnnotationKind,
) -> [Element<'a>; 2] {
    let window = window(source, label.span);
    [
        origin(file, label.line, label.column).into(),
        snippet(source, window, std::slice::from_ref(label), kind).into(),
    ]
}

fn origin(file: &str, line: usize, column: usize) -> Origin<'_> {
    Origin::path(file).line(line).char_column(column)
}

/// All of the lines on which labels stand, and those between.
fn lines_around(source: &Source, labels: &[Label]) -> Span {
    let lines = labels
        .iter()
        .map(|label| source.line_around(label.span.start));
    let whole = lines.reduce(|a, b| Span::new(a.start.min(b.start), a.end.max(b.end)));
    whole.unwrap_or(Span::START)
}

/// As much of the line of `span` as can be shown.
fn window(source: &Source, span: Span) -> Span {
    let line = source.line_around(span.start);
    let start = source
        .text()
        .floor_char_boundary(span.start.saturating_sub(MARGIN));
    let end = source
        .text()
        .floor_char_boundary(span.start.saturating_add(MARGIN));
    Span::new(start.max(line.start), end.min(line.end))
}

/// `lines` with `labels` in it, the first of them as `first`.
fn snippet<'a>(
    source: &'a Source,
    lines: Span,
    labels: &'a [Label],
    first: AnnotationKind,
) -> Snippet<'a, Annotation<'a>> {
    let annotations = labels.iter().enumerate().map(|(index, label)| {
        let kind = if index == 0 {
            first
        } else {
            AnnotationKind::Context
        };
        annotation(kind, label, lines)
    });
    Snippet::source(source.slice(lines))
        .line_start(source.line_and_column(lines.start).0)
        .annotations(annotations)
}

fn annotation(kind: AnnotationKind, label: &Label, lines: Span) -> Annotation<'_> {
    let within = |offset: usize| offset.min(lines.end).saturating_sub(lines.start);
    let annotation = kind.span(within(label.span.start)..within(label.span.end));
    if label.message.is_empty() {
        annotation
    } else {
        annotation.label(label.message.as_str())
    }
}
