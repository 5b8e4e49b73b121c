//! All that a demonstration has on the machine, found by its name, and removed with it.
//!
//! Guards remove what they made as they are dropped. This is for the rest: what the daemon made, what
//! lay between two guards as a signal came, and what [`Claim::leave`] has left on purpose. A running
//! demonstration holds a lock, so that others leave it alone.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::screen::Screen;
use crate::daemon::Instance;

/// The environment variable that marks the processes of a demonstration with its name.
pub(super) const MARK: &str = "XLB_DEMO";

/// What to call all demonstrations at once.
pub(super) const ALL: &str = "all";

/// Sockets, locks, state and files of all instances.
const RUN_DIR: &str = "/run/xlb";
const PIN_DIR: &str = "/sys/fs/bpf/xlb";
const NAMESPACES: &str = "/run/netns";
const LOCK: &str = "demo.lock";
const PREFIX: &str = "demo-";

/// How often, and from one time to the next, is looked whether killed processes are gone.
const LOOKS: u32 = 400;
const LOOK: Duration = Duration::from_millis(5);

/// The name under which this process makes things. What has it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    demo: Demo,
    /// Locked as long as this lives.
    lock: File,
    leaves: bool,
}

impl Claim {
    /// Makes the folder with the lock.
    ///
    /// # Errors
    /// If it exists: a demonstration of an earlier process with this number has been left.
    pub(super) fn new() -> Result<Self> {
        let demo = Demo(process::id());
        fs::create_dir_all(RUN_DIR).with_context(|| format!("cannot make {RUN_DIR}"))?;
        let folder = demo.folder();
        if let Err(error) = fs::create_dir(&folder) {
            let hint = match error.kind() {
                ErrorKind::AlreadyExists => ": remove it with `xlb demo --down`",
                _ => "",
            };
            return Err(error).context(format!("cannot make {}{hint}", folder.display()));
        }
        let lock = File::create(folder.join(LOCK)).context("cannot make the lock")?;
        lock.lock().context("cannot take the lock")?;
        Ok(Self {
            demo,
            lock,
            leaves: false,
        })
    }

    /// The instance of the daemon: everything but pins in one folder.
    pub(super) fn instance(&self) -> Instance {
        Instance {
            name: self.demo.name(),
            run_dir: RUN_DIR.into(),
            state_dir: RUN_DIR.into(),
            pin_dir: PIN_DIR.into(),
        }
    }

    /// Removes everything; what could not be removed.
    pub(super) fn remove(mut self) -> Vec<String> {
        self.leaves = true;
        self.demo.remove()
    }

    /// Leaves everything, for `xlb demo --down`.
    pub(super) fn leave(mut self) {
        self.leaves = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.leaves {
            let left = self.demo.remove();
            if !left.is_empty() {
                tracing::warn!(?left, "cannot remove all of the demonstration");
            }
        }
        drop(self.lock.unlock());
    }
}

/// Removes the demonstration of this name, or [`ALL`], but none that is running.
///
/// # Errors
/// If something cannot be removed.
pub(super) fn remove_left(screen: Screen, name: &str) -> Result<()> {
    let mut demos = demos().context("cannot look for demonstrations")?;
    demos.retain(|demo| name == ALL || demo.name() == name);
    if demos.is_empty() {
        return screen.line("there is no demonstration to remove");
    }
    for demo in demos {
        let name = demo.name();
        if demo.is_running() {
            screen.line(&format!("{name} is running: left alone"))?;
            continue;
        }
        let left = demo.remove();
        if !left.is_empty() {
            bail!("cannot remove all of {name}: {} left", left.join(", "));
        }
        screen.line(&format!("{name} removed"))?;
    }
    Ok(())
}

/// Every demonstration that has a folder.
fn demos() -> io::Result<Vec<Demo>> {
    let names = entries(Path::new(RUN_DIR))?;
    let number = |name: String| name.strip_prefix(PREFIX)?.parse().ok().map(Demo);
    Ok(names.into_iter().filter_map(number).collect())
}

/// A demonstration: the process that tells or told it.
#[derive(Clone, Copy, Debug)]
struct Demo(u32);

impl Demo {
    fn name(self) -> String {
        format!("{PREFIX}{}", self.0)
    }

    fn folder(self) -> PathBuf {
        Path::new(RUN_DIR).join(self.name())
    }

    fn pins(self) -> PathBuf {
        Path::new(PIN_DIR).join(self.name())
    }

    fn is_running(self) -> bool {
        match File::open(self.folder().join(LOCK)) {
            Ok(lock) => lock.try_lock().is_err(),
            // It may not have come so far.
            Err(_) => Path::new("/proc").join(self.0.to_string()).exists(),
        }
    }

    /// Its namespaces have the names that [`crate::lab::unique_name`] gives.
    fn namespaces(self) -> Vec<PathBuf> {
        let prefix = format!("xlb-{}-", self.0);
        let names = entries(Path::new(NAMESPACES)).unwrap_or_default();
        let own = names.iter().filter(|name| name.starts_with(&prefix));
        own.map(|name| Path::new(NAMESPACES).join(name)).collect()
    }

    /// Its processes are marked; one that has ended has no environment any more.
    fn processes(self) -> Vec<Pid> {
        let mark = format!("{MARK}={}", self.name());
        let numbers = entries(Path::new("/proc")).unwrap_or_default();
        let is_own = |id: &i32| {
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment
                .split(|&byte| byte == 0)
                .any(|variable| variable == mark.as_bytes())
        };
        let ids = numbers.iter().filter_map(|name| name.parse().ok());
        ids.filter(is_own).map(Pid::from_raw).collect()
    }

    /// Removes everything; what is there afterwards.
    fn remove(self) -> Vec<String> {
        self.end_processes();
        for namespace in self.namespaces() {
            // It may be a file that nothing was mounted on yet. What stays is reported below.
            umount2(&namespace, MntFlags::MNT_DETACH).unwrap_or_default();
            drop(fs::remove_file(&namespace));
        }
        drop(fs::remove_dir_all(self.pins()));
        drop(fs::remove_dir_all(self.folder()));
        // Other instances may be in them: then they stay.
        drop(fs::remove_dir(PIN_DIR));
        drop(fs::remove_dir(RUN_DIR));
        self.remains()
    }

    fn end_processes(self) {
        for _ in 0..LOOKS {
            let processes = self.processes();
            if processes.is_empty() {
                return;
            }
            for process in processes {
                // It may end by itself in between.
                kill(process, Signal::SIGKILL).unwrap_or_default();
            }
            thread::sleep(LOOK);
        }
    }

    fn remains(self) -> Vec<String> {
        let folders = [self.folder(), self.pins()];
        let processes = self.processes().into_iter();
        processes
            .map(|id| format!("process {id}"))
            .chain(
                self.namespaces()
                    .into_iter()
                    .chain(folders.into_iter().filter(|folder| folder.exists()))
                    .map(|path| path.display().to_string()),
            )
            .collect()
    }
}

/// Names of what is in a folder; nothing where there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    Ok(entries.flatten().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// No process has this number: the kernel's are below 2^22.
    const NOBODY: Demo = Demo(1 << 30);

    #[test]
    fn marked_processes_are_found_and_ended() {
        let mut sleep = Command::new("sleep")
            .arg("60")
            .env(MARK, NOBODY.name())
            .spawn()
            .unwrap();
        // Between fork and exec it has the environment of this process.
        while NOBODY.processes().is_empty() {
            thread::sleep(LOOK);
        }
        NOBODY.end_processes();
        assert!(!sleep.wait().unwrap().success());
        assert_eq!(NOBODY.remains(), Vec::<String>::new());
    }
}
