//! Programs of the distribution that tests, demo and bench call.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::shell::{find, is_root, run, step};

/// What programs are needed for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// Network namespaces alone.
    Demo,
    /// Namespaces, and real clients and servers in them.
    Tests,
    /// Guests that run other kernels.
    Kernels,
    /// The fuzz target.
    Fuzz,
}

/// A program, and the Debian package that has it.
struct Program {
    command: &'static str,
    package: &'static str,
}

const fn program(command: &'static str, package: &'static str) -> Program {
    Program { command, package }
}

const DEMO: [Program; 2] = [program("ip", "iproute2"), program("ethtool", "ethtool")];

const TESTS: [Program; 12] = [
    program("bird", "bird2"),
    program("bpftool", "bpftool"),
    program("curl", "curl"),
    program("dnsmasq", "dnsmasq-base"),
    program("etcd", "etcd-server"),
    program("iperf3", "iperf3"),
    program("nc", "netcat-openbsd"),
    program("nft", "nftables"),
    program("nginx", "nginx-light"),
    program("nsenter", "util-linux"),
    program("sysctl", "procps"),
    program("xz", "xz-utils"),
];

const KERNELS: [Program; 3] = [
    program("dpkg-deb", "dpkg"),
    program("modinfo", "kmod"),
    program("xz", "xz-utils"),
];

const FUZZ: [Program; 2] = [program("c++", "g++"), program("nice", "coreutils")];

impl Need {
    fn programs(self) -> impl Iterator<Item = &'static Program> {
        let (network, others): (&[Program], &[Program]) = match self {
            Self::Demo => (&DEMO, &[]),
            Self::Tests => (&DEMO, &TESTS),
            Self::Kernels => (&DEMO, &KERNELS),
            Self::Fuzz => (&[], &FUZZ),
        };
        network.iter().chain(others)
    }

    /// For people.
    const fn subject(self) -> &'static str {
        match self {
            Self::Demo | Self::Tests => "network namespaces and what runs in them",
            Self::Kernels => "guests with other kernels",
            Self::Fuzz => "libFuzzer, which is built from its source,",
        }
    }
}

/// Installs what is missing.
///
/// # Errors
/// If something is missing and this is not Debian, or not root, or the installation fails.
pub(crate) fn ensure(need: Need) -> Result<()> {
    let missing: Vec<_> = need
        .programs()
        .filter(|program| find(program.command).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let commands: Vec<_> = missing.iter().map(|program| program.command).collect();
    let packages: Vec<_> = missing.iter().map(|program| program.package).collect();
    ensure!(
        find("apt-get").is_some(),
        "{} not found: install them with your package manager (Debian calls them {})",
        commands.join(", "),
        packages.join(" ")
    );
    step(&format!(
        "installing {}: {} need {}",
        packages.join(" "),
        need.subject(),
        commands.join(", ")
    ));
    install(&packages)
}

/// Installs Debian packages, without questions and without starting any service they bring.
///
/// # Errors
/// If this is not root, or apt-get fails.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    ensure!(
        is_root(),
        "installing needs root: run `sudo apt-get install {}`",
        packages.join(" ")
    );
    run(apt_get().arg("update"))?;
    let _no_services = NoServices::start()?;
    run(apt_get()
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
    command
}

/// While it lives, packages do not start their services: no web server on the host's port 80.
///
/// `/usr/sbin/policy-rc.d` is the administrator's; where there is one it stays in force.
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn start() -> Result<Self> {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        let guard = Self(Some(policy.to_path_buf()));
        // 101: action forbidden by policy.
        fs::write(policy, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", policy.display()))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.0 {
            // Best effort: if it was never written there is nothing to remove.
            fs::remove_file(policy).unwrap_or_default();
        }
    }
}
