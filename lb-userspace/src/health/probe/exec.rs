//! A command whose exit code tells.
//!
//! It runs as another user, in a process group of its own that is killed when its time is up, without output, with
//! what it is about in its environment and with little else; and it gets only so much memory, files and processor
//! time. As many run at a time as there are that ask for it: one that hangs keeps nobody waiting.

use std::{
    collections::HashMap,
    env, fmt, io,
    net::SocketAddr,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, Uid, User},
};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    task::spawn_blocking,
};

use super::accounts::Accounts;
use crate::{config::model::Exec, health::Outcome};

/// What one may have: bytes of address space, files, and seconds of processor time.
const LIMITS: [(Resource, u64); 4] = [
    (Resource::As, 1 << 30),
    (Resource::Nofile, 256),
    (Resource::Cpu, 60),
    (Resource::Core, 0),
];
/// Starts of the same at a time: each keeps a thread.
const STARTS: usize = 4;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A variable of a command's environment.
pub(crate) type Variable = (&'static str, String);

/// Runs commands.
#[derive(Default)]
pub(crate) struct Commands {
    accounts: Accounts,
    /// Those that are being started: a program on a file system that hangs does not come back, and is not tried for
    /// ever meanwhile.
    starting: Arc<Mutex<Starting>>,
}

/// How often each is.
type Starting = HashMap<Errand, usize>;

/// A command with its variables.
type Errand = (Exec, Vec<Variable>);

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commands")
    }
}

impl Commands {
    /// Asks a backend.
    pub(super) async fn ask(&self, address: SocketAddr, check: &Exec) -> Result<(), Outcome> {
        let variables = vec![
            ("XLB_ADDRESS", address.ip().to_string()),
            ("XLB_PORT", address.port().to_string()),
        ];
        self.run(check, variables, None).await
    }

    /// Runs one with these variables and this input, and waits for its end.
    pub(crate) async fn run(
        &self,
        exec: &Exec,
        variables: Vec<Variable>,
        input: Option<&[u8]>,
    ) -> Result<(), Outcome> {
        let user = self.accounts.of(&exec.user).await;
        let user = user.ok_or(Outcome::NotMade(libc::ESRCH))?;
        let mut command = command(exec, &variables, &user).ok_or(Outcome::NotMade(libc::EINVAL))?;
        command.stdin(input.map_or_else(Stdio::null, |_| Stdio::piped()));
        let started = self.start((exec.clone(), variables), command).await;
        let mut started = started.map_err(|error| outcome(&error))?;
        if let (Some(input), Some(mut pipe)) = (input, started.child.stdin.take()) {
            // It may end without having read all of it.
            drop(pipe.write_all(input).await);
        }
        let status = started
            .child
            .wait()
            .await
            .map_err(|error| outcome(&error))?;
        judge(status)
    }

    /// Starts a command, not in a task that others wait for.
    async fn start(&self, errand: Errand, mut command: Command) -> io::Result<Started> {
        begin(&mut lock(&self.starting), &errand)?;
        let starting = Arc::clone(&self.starting);
        let started = spawn_blocking(move || {
            let started = command.spawn().and_then(Started::new);
            end(&mut lock(&starting), &errand);
            started
        });
        started.await.map_err(io::Error::other)?
    }
}

fn begin(starting: &mut Starting, errand: &Errand) -> io::Result<()> {
    let count = starting.entry(errand.clone()).or_default();
    if *count == STARTS {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    *count += 1;
    Ok(())
}

fn end(starting: &mut Starting, errand: &Errand) {
    if let Some(count) = starting.get_mut(errand) {
        *count -= 1;
        if *count == 0 {
            starting.remove(errand);
        }
    }
}

/// No code panics under this lock.
fn lock(starting: &Mutex<Starting>) -> MutexGuard<'_, Starting> {
    starting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn command(exec: &Exec, variables: &[Variable], user: &User) -> Option<Command> {
    let (program, arguments) = exec.command.split_first()?;
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
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
struct Started {
    child: Child,
    group: Pid,
}

impl Started {
    fn new(child: Child) -> io::Result<Self> {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        Ok(Self {
            child,
            group: Pid::from_raw(id),
        })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Nobody is left of it, as a rule.
        killpg(self.group, Signal::SIGKILL).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_start_is_not_tried_for_ever() {
        let errand = |variable: &str| {
            let exec = Exec {
                command: vec!["/hangs".to_owned()],
                user: "nobody".to_owned(),
            };
            (exec, vec![("XLB_ADDRESS", variable.to_owned())])
        };
        let (one, other) = (errand("192.0.2.1"), errand("192.0.2.2"));
        let mut starting = Starting::new();
        for _ in 0..STARTS {
            begin(&mut starting, &one).unwrap();
        }
        let refused = begin(&mut starting, &one).unwrap_err();
        assert_eq!(outcome(&refused), Outcome::NotMade(libc::EBUSY));
        begin(&mut starting, &other).unwrap();
        end(&mut starting, &one);
        begin(&mut starting, &one).unwrap();
        end(&mut starting, &other);
        assert_eq!(starting.len(), 1);
    }
}
