//! One network namespace.

use std::{
    fs::{self, File},
    io,
    net::Ipv6Addr,
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use nix::{
    mount::{MntFlags, umount2},
    sched::{CloneFlags, setns},
};

use super::{LabError, Process, ip, shell};

/// Settings that keep a namespace quiet and predictable: IPv6 addresses work at once, nobody
/// listens to router advertisements or redirects, and the source of a packet is not checked against
/// the way back (DNAT replies of the balancer would fail it in some topologies).
const SYSCTLS: [(&str, &str); 12] = [
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
];

/// How often is looked whether the kernel is ready, at most.
const POLLS: u32 = 500;

/// From one look to the next.
const POLL: Duration = Duration::from_millis(10);

/// A network namespace under `/run/netns`, as `ip netns` makes it; removed when dropped.
///
/// People enter it with `nsenter --net=/run/netns/NAME`. Not with `ip netns exec`: that mounts
/// another `/sys`, in which the BPF file system, and the pins with it, cannot be seen.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with `lo` up and no packets forwarded.
    ///
    /// # Errors
    /// If it exists, or this is not root, or `ip` is not installed.
    pub fn new(name: impl Into<String>) -> Result<Self, LabError> {
        let name = name.into();
        shell::output(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.enter(|| {
            SYSCTLS
                .iter()
                .try_for_each(|(path, value)| namespace.write_sysctl(path, value))
        })??;
        namespace.ip(["link set lo up"])?;
        Ok(namespace)
    }

    /// Its name below `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that keeps it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs lines of `ip` inside, such as `addr add 10.0.0.1/24 dev eth0`.
    ///
    /// # Errors
    /// At the first line that fails.
    pub fn ip<L: Into<String>>(&self, lines: impl IntoIterator<Item = L>) -> Result<(), LabError> {
        let lines: Vec<_> = lines.into_iter().map(Into::into).collect();
        ip::batch(Some(&self.name), &lines).map(drop)
    }

    /// Waits until interfaces carry packets. After both ends of a veth pair are up, the kernel may
    /// take a second to notice; until then IPv6 is not ready on them.
    ///
    /// # Errors
    /// If an interface does not exist, or its other end is not up.
    pub fn wait_until_up(&self, interfaces: &[&str]) -> Result<(), LabError> {
        // Asked for a single interface, Linux 6.8 and later notice at once (commit facd15dfd691).
        let show = interfaces
            .iter()
            .map(|name| format!("link show dev {name}"));
        let lines: Vec<_> = show.collect();
        self.wait_for(&format!("carrier at {}", interfaces.join(", ")), || {
            let shown = ip::batch(Some(&self.name), &lines)?;
            Ok(shown.matches(" state UP ").count() == interfaces.len())
        })
    }

    /// Waits until packets to IPv6 addresses are taken as the namespace's own: the kernel adds their
    /// routes from a work queue, a moment after the addresses.
    ///
    /// # Errors
    /// If it does not have one of them.
    pub fn wait_until_local(&self, addresses: &[Ipv6Addr]) -> Result<(), LabError> {
        let routes = [
            "-netns", &self.name, "-6", "route", "show", "table", "local",
        ];
        self.wait_for(&format!("routes to {addresses:?}"), || {
            let shown = shell::output(Command::new("ip").args(routes))?;
            let local = |address| shown.contains(&format!("local {address} dev "));
            Ok(addresses.iter().all(local))
        })
    }

    fn wait_for(
        &self,
        what: &str,
        ready: impl Fn() -> Result<bool, LabError>,
    ) -> Result<(), LabError> {
        for _ in 0..POLLS {
            if ready()? {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(LabError::NotReady {
            name: self.name.clone(),
            what: what.to_owned(),
        })
    }

    /// Writes a kernel setting, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// If the kernel has no such setting or refuses the value.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<(), LabError> {
        self.enter(|| self.write_sysctl(path, value))?
    }

    /// Must run inside: `/proc/sys/net` is that of the thread that asks.
    fn write_sysctl(&self, path: &str, value: &str) -> Result<(), LabError> {
        fs::write(Path::new("/proc/sys").join(path), value).map_err(|source| LabError::Sysctl {
            name: self.name.clone(),
            path: path.to_owned(),
            source,
        })
    }

    /// Turns forwarding of IPv4 and IPv6 packets by the kernel on or off.
    ///
    /// # Errors
    /// If the settings cannot be written.
    pub fn forward(&self, on: bool) -> Result<(), LabError> {
        let value = if on { "1" } else { "0" };
        self.sysctl("net/ipv4/ip_forward", value)?;
        self.sysctl("net/ipv6/conf/all/forwarding", value)
    }

    /// A command that runs inside. Its process id is that of the program itself.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a command inside for its standard output: `run(["curl", "http://10.0.0.1/"])`.
    ///
    /// # Errors
    /// If it cannot be started, or fails; with what it said.
    pub fn run<W: AsRef<std::ffi::OsStr>>(
        &self,
        words: impl IntoIterator<Item = W>,
    ) -> Result<String, LabError> {
        let mut words = words.into_iter();
        let Some(program) = words.next() else {
            return Ok(String::new());
        };
        shell::output(self.command(program).args(words))
    }

    /// Starts a command inside that ends with its guard; its output goes where `command` says.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, program: &str, args: &[&str]) -> Result<Process, LabError> {
        Process::start(self.command(program).args(args))
    }

    /// Runs `work` on a fresh thread inside, and waits for it. A socket made there belongs to this
    /// namespace and may be used anywhere; so do threads that it starts.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    ///
    /// # Panics
    /// As `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name(self.name.clone());
            thread
                .spawn_scoped(scope, || self.switch().map(|()| work()))
                .map_err(|source| self.entering(source))?
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Moves the calling thread inside.
    fn switch(&self) -> Result<(), LabError> {
        let file = File::open(self.path()).map_err(|source| self.entering(source))?;
        setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| self.entering(errno.into()))
    }

    fn entering(&self, source: io::Error) -> LabError {
        LabError::Enter {
            name: self.name.clone(),
            source,
        }
    }
}

impl Drop for Namespace {
    /// As `ip netns delete`. The kernel removes the namespace when the last process in it is gone.
    fn drop(&mut self) {
        let path = self.path();
        let removed = umount2(&path, MntFlags::MNT_DETACH)
            .map_err(io::Error::from)
            .and_then(|()| fs::remove_file(&path));
        if let Err(error) = removed {
            tracing::warn!(namespace = self.name, %error, "cannot remove the network namespace");
        }
    }
}
