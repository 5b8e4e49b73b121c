//! Calling other programs, and saying clearly what went wrong.

use std::{
    ffi::OsStr,
    io::{self, Write as _},
    process::{Command, Output, Stdio},
};

use super::LabError;

/// The command as one would type it.
pub(super) fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

/// Runs a command for its standard output.
///
/// # Errors
/// If it is not installed, or fails.
pub(super) fn output(command: &mut Command) -> Result<String, LabError> {
    let output = command.output().map_err(|error| start(command, error))?;
    stdout(command, &output)
}

/// Runs a command that reads `input`.
///
/// # Errors
/// If it is not installed, or fails.
pub(super) fn feed(command: &mut Command, input: &str) -> Result<String, LabError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| start(command, error))?;
    // A program that stops reading says why on its standard error.
    let written = child
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(input.as_bytes()));
    let output = child
        .wait_with_output()
        .map_err(|error| start(command, error))?;
    let text = stdout(command, &output)?;
    match written {
        Some(Err(error)) => Err(start(command, error)),
        _ => Ok(text),
    }
}

/// What became of an attempt to start `command`.
pub(super) fn start(command: &Command, source: io::Error) -> LabError {
    let program = command.get_program().to_string_lossy().into_owned();
    if source.kind() == io::ErrorKind::NotFound {
        let package = package(&program);
        return LabError::NotInstalled { program, package };
    }
    LabError::Start {
        line: line(command),
        source,
    }
}

fn package(program: &str) -> &'static str {
    match program {
        "ip" => "iproute2",
        "nsenter" => "util-linux",
        _ => "the package that has it",
    }
}

fn stdout(command: &Command, output: &Output) -> Result<String, LabError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = match said.trim() {
        "" => output.status.to_string(),
        said => said.to_owned(),
    };
    Err(LabError::Failed {
        line: line(command),
        message,
    })
}
