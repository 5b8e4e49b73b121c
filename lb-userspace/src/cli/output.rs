//! Where text goes: results to stdout, talk to stderr, and a closed pipe is no mistake.

use std::{
    env,
    io::{self, ErrorKind, IsTerminal, Write},
};

use serde::Serialize;

use super::args::{Color, Format};
use crate::api::{Code, Error, ErrorBody};

/// How this process prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// For people or programs.
    pub(crate) format: Format,
    /// Whether stdout takes colour.
    pub(crate) paints: bool,
    /// Whether stderr takes colour.
    pub(crate) paints_talk: bool,
}

impl Output {
    pub(crate) fn new(format: Format, color: Color) -> Self {
        Self {
            format,
            paints: paints(color, io::stdout().is_terminal()),
            paints_talk: paints(color, io::stderr().is_terminal()),
        }
    }

    /// Prints a result: `value` for programs, `text` for people.
    pub(crate) fn result(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        match self.format {
            Format::Json => json(value),
            Format::Table => print(&text()),
        }
    }

    /// Reports an error: as text, and as JSON where that was asked for.
    pub(crate) fn error(self, error: &Error) {
        let body = ErrorBody {
            error: error.clone(),
        };
        self.failure(error, &body);
    }

    /// Reports an error with more about it for programs.
    pub(crate) fn failure(self, error: &Error, body: &impl Serialize) {
        if self.format == Format::Json {
            // Where stdout is closed stderr and the exit code tell enough.
            drop(json(body));
        }
        talk(&self.describe(error));
    }

    fn describe(self, error: &Error) -> String {
        let head = match error.code {
            // A report of mistakes brings its own heads.
            Code::ConfigInvalid => String::new(),
            _ if self.paints_talk => "\x1b[1;31merror\x1b[0m: ".to_owned(),
            _ => "error: ".to_owned(),
        };
        let hint = error.hint.iter().map(|hint| format!("  hint: {hint}\n"));
        let message = error.message.trim_end();
        format!("{head}{message}\n{}", hint.collect::<String>())
    }
}

/// Prints text as it is. Whoever closed the pipe has seen enough.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    match write(io::stdout().lock(), text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::new(
            Code::Failed,
            format!("cannot write to stdout: {error}"),
        )),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Says something beside the result. Where stderr is closed nobody listens.
pub(crate) fn talk(text: &str) {
    drop(write(io::stderr().lock(), text));
}

fn json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(Code::Failed, format!("cannot write JSON: {error}")))?;
    print(&(text + "\n"))
}

fn write(mut stream: impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// `NO_COLOR` beats `CLICOLOR_FORCE` (<https://no-color.org>), and the flag beats both.
fn paints(color: Color, is_terminal: bool) -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) => false,
        Color::Auto if set("CLICOLOR_FORCE") => true,
        Color::Auto => is_terminal && env::var_os("TERM").is_none_or(|term| term != "dumb"),
    }
}
