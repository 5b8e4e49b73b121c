//! A command whose exit code tells.
//!
//! It runs as another user, in a process group of its own that is killed when its time is up, without input and
//! output, with the backend in its environment and with little else; and it gets only so much memory, files and
//! processor time.

use std::{
    env, io,
    net::SocketAddr,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Uid, User},
};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::{process::Command, sync::Semaphore};

use crate::{config::model::Exec, health::Outcome};

/// Commands at a time.
const AT_A_TIME: usize = 32;
/// What one may have: bytes of address space, files, and seconds of processor time.
const LIMITS: [(Resource, u64); 4] = [
    (Resource::As, 1 << 30),
    (Resource::Nofile, 256),
    (Resource::Cpu, 60),
    (Resource::Core, 0),
];
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs commands, a few at a time.
#[derive(Debug)]
pub(super) struct Commands(Semaphore);

impl Default for Commands {
    fn default() -> Self {
        Self(Semaphore::new(AT_A_TIME))
    }
}

impl Commands {
    /// Runs one, and waits for its end.
    pub(super) async fn run(&self, address: SocketAddr, check: &Exec) -> Result<(), Outcome> {
        const UNKNOWN: Outcome = Outcome::NotMade(libc::ESRCH);
        let _permit = self
            .0
            .acquire()
            .await
            .map_err(|_closed| Outcome::NotMade(libc::ECANCELED))?;
        let user = user(check.user.clone()).await.ok_or(UNKNOWN)?;
        let mut command = command(address, check, &user).ok_or(Outcome::NotMade(libc::EINVAL))?;
        let mut child = command.spawn().map_err(|error| outcome(&error))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let _group = Group(id.ok_or(UNKNOWN)?);
        let status = child.wait().await.map_err(|error| outcome(&error))?;
        judge(status)
    }
}

/// An account; the look-up may ask others over the network.
async fn user(name: String) -> Option<User> {
    let found = tokio::task::spawn_blocking(move || User::from_name(&name)).await;
    found.ok()?.ok()?
}

fn command(address: SocketAddr, check: &Exec, user: &User) -> Option<Command> {
    let (program, arguments) = check.command.split_first()?;
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()))
        .env("XLB_ADDRESS", address.ip().to_string())
        .env("XLB_PORT", address.port().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    // Nobody else may become another one. The other groups go, too (`CommandExt::uid`).
    if Uid::effective().is_root() {
        command.gid(user.gid.as_raw()).uid(user.uid.as_raw());
    }
    // SAFETY: between fork and exec, `limit` makes system calls and nothing else: it takes no lock and no memory
    // (`CommandExt::pre_exec`, `signal-safety(7)`).
    unsafe { command.pre_exec(limit) };
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    Some(command)
}

fn outcome(error: &io::Error) -> Outcome {
    Outcome::NotMade(error.raw_os_error().unwrap_or(libc::EIO))
}

fn judge(status: ExitStatus) -> Result<(), Outcome> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Outcome::Exit(code)),
        (None, signal) => Err(Outcome::Killed(signal.unwrap_or_default())),
    }
}

/// Takes away from the calling process what it does not need.
fn limit() -> io::Result<()> {
    for (resource, most) in LIMITS {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

/// A command and all that it started; dropped, they end.
struct Group(i32);

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left of it, as a rule.
        killpg(nix::unistd::Pid::from_raw(self.0), Signal::SIGKILL).unwrap_or_default();
    }
}
