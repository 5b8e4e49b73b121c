//! The real binary, with folders of its own.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use lb_userspace::lab::{Namespace, Process, unique_name};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::wait::eventually;

/// How long the daemon may take until it answers, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the daemon serves metrics, in its namespace.
const METRICS: &str = "127.0.0.1:9900";

/// The binary: beside the test's own, or what `XLB_BIN` names.
///
/// # Errors
/// If it is not there: `cargo xtask test` builds it first.
pub fn binary() -> Result<PathBuf> {
    if let Some(binary) = env::var_os("XLB_BIN") {
        return Ok(binary.into());
    }
    let own = env::current_exe().context("cannot tell where this program lies")?;
    // target/debug/deps/test-0123, target/release/bench
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("xlb"))
        .find(|binary| binary.is_file())
        .ok_or_else(|| anyhow!("xlb is not built: run `cargo xtask build`, or `cargo xtask test`"))
}

/// A folder in the BPF file system; removed with what is pinned in it when dropped.
#[derive(Debug)]
pub struct PinFolder(PathBuf);

impl PinFolder {
    /// Makes it.
    ///
    /// # Errors
    /// If there is no BPF file system at `/sys/fs/bpf`.
    pub fn new() -> Result<Self> {
        let path = Path::new("/sys/fs/bpf").join(unique_name("xlb-test"));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PinFolder {
    fn drop(&mut self) {
        // What stays is seen by the next look at the folder; a guard cannot fail.
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// A running daemon in a namespace. When dropped, it is killed, and its pins are removed.
#[derive(Debug)]
pub struct Xlb<'a> {
    namespace: &'a Namespace,
    process: Process,
    pins: PinFolder,
    folder: TempDir,
}

impl<'a> Xlb<'a> {
    /// Starts it with a configuration, and waits until it answers.
    ///
    /// # Errors
    /// If it cannot be started, or ends, or does not answer; with its log.
    pub fn start(namespace: &'a Namespace, config: &str) -> Result<Self> {
        Self::start_after(namespace, config, |_pins, _state| Ok(()))
    }

    /// The same, where another daemon left something: `before` gets the folder of the pins and the state
    /// file, of which neither is there.
    ///
    /// # Errors
    /// As [`Self::start`], and those of `before`.
    pub fn start_after(
        namespace: &'a Namespace,
        config: &str,
        before: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<Self> {
        let pins = PinFolder::new()?;
        let folder = tempfile::tempdir().context("cannot make a folder for xlb")?;
        fs::write(folder.path().join("xlb.yaml"), config)?;
        before(&pins.path().join(INSTANCE), &state_file(folder.path()))?;
        let process = spawn(namespace, folder.path(), pins.path())?;
        let mut xlb = Self {
            namespace,
            process,
            pins,
            folder,
        };
        xlb.wait_until_it_answers()?;
        Ok(xlb)
    }

    /// What outlives it, beside the pins.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        state_file(self.folder.path())
    }

    /// Starts it again after [`Self::kill`] or [`Self::terminate`], on the same folders.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.process = spawn(self.namespace, self.folder.path(), self.pins.path())?;
        self.wait_until_it_answers()
    }

    /// Ends it with SIGKILL: the data path stays.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }

    /// Ends it with SIGTERM, and waits until it has ended well.
    ///
    /// # Errors
    /// If it does not end, or with another exit code than 0; with its log.
    pub fn terminate(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait(PATIENCE)?;
        ensure!(status.success(), "xlb ended with {status}\n{}", self.log());
        Ok(())
    }

    /// Its process, to be signalled.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("xlb.yaml")
    }

    /// Where its programs, links and maps are pinned.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.pins.path().join(INSTANCE)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(self.folder.path())).unwrap_or_default()
    }

    /// Runs a verb of the command line on this instance: `cli(&["backend", "list"])`.
    ///
    /// # Errors
    /// If it cannot be started. What it answers is in the output, its exit code too.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        command(self.namespace, self.folder.path(), self.pins.path())?
            .args(args)
            .output()
            .context("cannot start xlb")
    }

    /// Starts a verb that goes on until it is ended, and what it prints.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn follow(&self, args: &[&str]) -> Result<(Process, PathBuf)> {
        let printed = self.folder.path().join("followed");
        let file = File::create(&printed).context("cannot make a file for what it prints")?;
        let mut command = command(self.namespace, self.folder.path(), self.pins.path())?;
        let process = Process::start(command.args(args).stdout(file))?;
        Ok((process, printed))
    }

    /// Runs a verb for its JSON.
    ///
    /// # Errors
    /// If it fails, or its output is no JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let output = self.cli(&[args, &["-o", "json"]].concat())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("xlb {}: {}: {said}", args.join(" "), output.status);
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("xlb {}: not JSON", args.join(" ")))
    }

    /// The metrics page.
    ///
    /// # Errors
    /// If it is not served.
    pub fn metrics(&self) -> Result<String> {
        let page = format!("http://{METRICS}/metrics");
        Ok(self.namespace.run(["curl", "-sSf", &page])?)
    }

    /// Waits until its only peer hears it, and has told it everything.
    ///
    /// # Errors
    /// If that takes longer than `patience`.
    pub fn wait_until_peer_knows(&self, patience: Duration) -> Result<()> {
        let knows = || {
            let status = self.json(&["status"]).ok()?;
            let other = status["peers"]["items"].get(0)?;
            let is_so = |key: &str| other[key] == true;
            (is_so("told") && is_so("heard") && is_so("complete")).then_some(())
        };
        eventually("the balancers know each other", patience, knows)
            .with_context(|| format!("log of xlb:\n{}", self.log()))
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let answered = eventually("xlb answers", PATIENCE, || {
            if let Ok(Some(status)) = self.process.ended() {
                return Some(Err(anyhow!("xlb ended with {status}")));
            }
            self.json(&["status"]).ok().map(|_| Ok(()))
        });
        answered
            .and_then(|answer| answer)
            .with_context(|| format!("log of xlb:\n{}", self.log()))
    }
}

/// Name of the instance within its folders.
const INSTANCE: &str = "test";

/// `xlb` on these folders, without a verb yet.
fn command(namespace: &Namespace, folder: &Path, pins: &Path) -> Result<Command> {
    let mut command = namespace.command(binary()?);
    command
        .args(["--instance", INSTANCE, "--run-dir"])
        .arg(folder.join("run"))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .arg("--pin-dir")
        .arg(pins);
    Ok(command)
}

fn spawn(namespace: &Namespace, folder: &Path, pins: &Path) -> Result<Process> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_file(folder))
        .context("cannot write the log of xlb")?;
    let mut command = command(namespace, folder, pins)?;
    command
        .args(["run", "--metrics", METRICS, "-c"])
        .arg(folder.join("xlb.yaml"))
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(Process::start(&mut command)?)
}

fn state_file(folder: &Path) -> PathBuf {
    folder.join("state").join(INSTANCE).join("state.json")
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("xlb.log")
}
