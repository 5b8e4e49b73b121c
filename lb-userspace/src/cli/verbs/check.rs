//! `xlb check`.

use std::path::Path;

use nix::net::if_::if_nametoindex;
use serde::Serialize;

use super::super::{Context, DONE, output::talk};
use crate::{
    api::{
        Code, Error,
        types::{Item, List},
    },
    config::{self, Diagnostic, Parsed, Report},
};

impl Item for Diagnostic {
    const KIND: &'static str = "DiagnosticList";
}

pub(super) fn run(context: &Context, path: &Path) -> Result<u8, Error> {
    match load(path) {
        Ok(parsed) => succeed(context, path, &parsed),
        Err(report) => Ok(fail(context, &report)),
    }
}

fn load(path: &Path) -> Result<Parsed, Report> {
    let parsed = config::load(path)?;
    parsed.check_interfaces(|name| if_nametoindex(name).is_ok())?;
    Ok(parsed)
}

fn succeed(context: &Context, path: &Path, parsed: &Parsed) -> Result<u8, Error> {
    for note in &parsed.notes {
        talk(&format!("{}\n\n", note.render(context.output.paints_talk)));
    }
    let list = List::new(parsed.notes.clone());
    context.output.result(&list, || {
        let services = &parsed.config.services;
        let backends: usize = services.iter().map(|service| service.backends.len()).sum();
        format!(
            "{} is valid: {} services, {backends} backends\n",
            path.display(),
            services.len()
        )
    })?;
    Ok(DONE)
}

/// The error, and every mistake with its place.
#[derive(Serialize)]
struct Failure<'a> {
    error: Error,
    problems: &'a Report,
}

fn fail(context: &Context, report: &Report) -> u8 {
    let text = report.render(context.output.paints_talk);
    let plain = Error::new(Code::ConfigInvalid, report.render(false));
    let problems = report;
    let body = Failure {
        error: plain,
        problems,
    };
    let error = Error::new(Code::ConfigInvalid, text);
    context.output.failure(&error, &body);
    Code::ConfigInvalid.exit_code()
}
