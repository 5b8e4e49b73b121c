//! Waiting for what comes soon.

use std::{thread, time::Duration};

use anyhow::{Result, bail};

/// How often is looked.
const POLL: Duration = Duration::from_millis(10);

/// Asks until there is an answer.
///
/// # Errors
/// If there is none after `at_most`.
pub fn eventually<T>(
    what: &str,
    at_most: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T> {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if waited >= at_most {
            bail!("{what}: not within {at_most:?}");
        }
        thread::sleep(POLL);
        waited += POLL;
    }
}
