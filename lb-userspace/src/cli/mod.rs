//! The command line.
//!
//! Results go to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 usage, 3 configuration
//! invalid, 4 daemon not reachable, 5 no such service or backend, 6 refused by a guard, 7 `--wait`
//! ran out, 8 attention (`status --exit-code`).

pub mod args;
mod format;
mod output;
mod table;
mod verbs;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _};

use self::{
    args::{Args, Color, Format, Globals},
    output::Output,
};
use crate::{
    api::{Code, Error, client::Client},
    daemon::Instance,
};

/// What the shell sees where all is well.
pub(crate) const DONE: u8 = 0;
/// What the shell sees where something wants attention.
pub(crate) const ATTENTION: u8 = 8;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os().collect()))
}

fn run(words: Vec<OsString>) -> u8 {
    let asked = |long: &str, value: &str| is_asked(&words, long, value);
    let command = Args::command().color(if asked("--color", "never") {
        clap::ColorChoice::Never
    } else {
        clap::ColorChoice::Auto
    });
    let json = asked("-o", "json") || asked("--output", "json");
    let args = command
        .try_get_matches_from(words)
        .and_then(|matches| Args::from_arg_matches(&matches));
    match args {
        Ok(args) => execute(args),
        Err(error) => usage(&error, json),
    }
}

/// Whether `words` hold an option with this value, before they are known to make sense.
fn is_asked(words: &[OsString], option: &str, value: &str) -> bool {
    let joined = [format!("{option}={value}"), format!("{option}{value}")];
    words
        .iter()
        .any(|word| joined.iter().any(|j| word == j.as_str()))
        || words
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a == option && b == value))
}

fn usage(error: &clap::Error, json: bool) -> u8 {
    let is_mistake = error.use_stderr();
    if is_mistake && json {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ");
        Output::new(Format::Json, Color::Never).error(&Error::new(Code::Usage, message));
        return Code::Usage.exit_code();
    }
    // Nobody is left to be told where stdout and stderr are closed.
    drop(error.print());
    u8::try_from(error.exit_code()).unwrap_or(Code::Usage.exit_code())
}

fn execute(args: Args) -> u8 {
    let Args { globals, verb } = args;
    let context = Context::new(globals);
    match verbs::run(&context, verb) {
        Ok(code) => code,
        Err(error) => {
            context.output.error(&error);
            error.code.exit_code()
        }
    }
}

/// What every verb needs.
struct Context {
    globals: Globals,
    output: Output,
}

impl Context {
    fn new(globals: Globals) -> Self {
        let output = Output::new(globals.output, globals.color);
        Self { globals, output }
    }

    fn instance(&self) -> Instance {
        self.globals.instance()
    }

    fn client(&self) -> Client {
        Client::new(self.instance().socket())
    }

    /// Runs one conversation with the daemon.
    fn ask<T>(&self, talk: impl AsyncFnOnce(Client) -> Result<T, Error>) -> Result<T, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::new(Code::Failed, format!("cannot start: {error}")))?;
        runtime.block_on(talk(self.client()))
    }

    /// `xlb` with the flags that name this instance, and these words: a command to copy.
    fn command(&self, words: &[String]) -> String {
        let mut command = vec!["xlb".to_owned()];
        command.extend(self.globals.flags());
        command.extend(words.iter().map(|word| format::quoted(word)));
        command.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_output_format_is_known_before_the_arguments_make_sense() {
        let asked = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            is_asked(&words, "-o", "json")
        };
        assert!(asked(&["xlb", "nonsense", "-o", "json"]));
        assert!(asked(&["xlb", "-ojson", "nonsense"]));
        assert!(!asked(&["xlb", "-o", "table", "json"]));
    }
}
