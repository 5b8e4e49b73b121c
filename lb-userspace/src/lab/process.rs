//! A process that ends with its guard.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{LabError, shell};

/// How often an end is looked for.
const POLL: Duration = Duration::from_millis(5);

/// A process in a group of its own, so that Ctrl-C does not reach it; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    line: String,
}

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self, LabError> {
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|error| shell::start(command, error))?;
        Ok(Self {
            child,
            line: shell::line(command),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, once, if it was started with a pipe there.
    pub const fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard error, once, if it was started with a pipe there.
    pub const fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// If it cannot be asked for.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, LabError> {
        self.child.try_wait().map_err(|error| self.failed(error))
    }

    /// Sends a signal; nothing happens if it has ended.
    ///
    /// # Errors
    /// If it may not be signalled.
    pub fn signal(&mut self, signal: Signal) -> Result<(), LabError> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        // Not reaped yet, so the id is its own.
        let id = i32::try_from(self.id()).unwrap_or(i32::MAX);
        kill(Pid::from_raw(id), signal).map_err(|errno| self.failed(errno.into()))
    }

    /// Waits for its end, at most this long.
    ///
    /// # Errors
    /// If it has not ended by then.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus, LabError> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if waited >= at_most {
                return Err(self.failed(io::ErrorKind::TimedOut.into()));
            }
            thread::sleep(POLL);
            waited += POLL;
        }
    }

    /// Ends it at once with SIGKILL, and waits for that.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub fn kill(&mut self) -> Result<(), LabError> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> LabError {
        LabError::Process {
            line: self.line.clone(),
            source,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "a process of the lab stays");
        }
    }
}
