//! The daemon's log: text on stderr, one line a change of state, values as fields.

use std::{env, io};

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise. Not what aya warns of: on every start that the
/// kernel does not take the types of a Rust program, on a page of them; no map needs them.
const DEFAULT: &str = "info,aya=error";

/// Starts the log. Under systemd the journal knows the time.
///
/// # Errors
/// Where `RUST_LOG` makes no sense, or a log was started before.
pub(super) fn start(paints: bool) -> anyhow::Result<()> {
    let filter = match env::var(EnvFilter::DEFAULT_ENV) {
        Ok(words) => EnvFilter::try_new(words)?,
        Err(_) => EnvFilter::new(DEFAULT),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(paints)
        .with_target(false);
    let started = if env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().try_init()
    } else {
        log.try_init()
    };
    started.map_err(|error| anyhow!("cannot start the log: {error}"))
}
