//! `xlb apply`.

use std::{fs, path::Path};

use super::super::{Context, DONE, output::talk};
use crate::api::{
    Code, Error,
    types::{Applied, ApplyRequest, List, Source},
};

pub(super) fn run(context: &Context, config: Option<&Path>) -> Result<u8, Error> {
    let source = config.map(read).transpose()?;
    let request = ApplyRequest { source };
    let applied = context.ask(async |client| client.apply(&request).await)?;
    for note in &applied.notes {
        talk(&format!("{}\n", note.trim_end()));
    }
    context
        .output
        .result(&List::new(vec![applied.clone()]), || describe(&applied))?;
    Ok(DONE)
}

fn read(path: &Path) -> Result<Source, Error> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Error::new(Code::ConfigInvalid, format!("cannot read {name}: {error}")))?;
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    Ok(Source {
        path: path.display().to_string(),
        text,
    })
}

fn describe(applied: &Applied) -> String {
    let Applied {
        path,
        changed,
        revision,
        slots_moved,
        took_us,
        notes: _,
    } = applied;
    if !changed {
        return format!("no change: revision {revision} is what {path} says\n");
    }
    let milliseconds = format!("{}.{} ms", took_us / 1000, took_us % 1000 / 100);
    format!("applied {path} as revision {revision} in {milliseconds}; {slots_moved} slots moved\n")
}
