//! What backends need that answer clients directly: the VIPs as addresses of their own that the link
//! does not hear of, and an end for tunnels.

use std::{net::IpAddr, process::Output};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::lab::Namespace;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{PinFolder, binary};

/// Gives VIPs to a host, on `lo`. It neither answers ARP for them nor asks in their name.
///
/// # Errors
/// If it has one of them.
pub fn own(host: &Namespace, vips: &[IpAddr]) -> Result<()> {
    host.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
    host.sysctl("net/ipv4/conf/all/arp_announce", "2")?;
    let add = |vip: &IpAddr| match vip {
        IpAddr::V4(vip) => format!("addr add {vip}/32 dev lo"),
        IpAddr::V6(vip) => format!("addr add {vip}/128 dev lo nodad"),
    };
    host.ip(vips.iter().map(add))?;
    let v6 = vips.iter().filter_map(|vip| match vip {
        IpAddr::V4(_) => None,
        IpAddr::V6(vip) => Some(*vip),
    });
    Ok(host.wait_until_local(&v6.collect::<Vec<_>>())?)
}

/// `xlb decap` on a host; what it attached is detached when this is dropped.
#[derive(Debug)]
pub struct TunnelEnd<'a> {
    host: &'a Namespace,
    pins: PinFolder,
    folder: TempDir,
}

impl<'a> TunnelEnd<'a> {
    /// Nothing is attached yet.
    ///
    /// # Errors
    /// If there is no BPF file system.
    pub fn new(host: &'a Namespace) -> Result<Self> {
        Ok(Self {
            host,
            pins: PinFolder::new()?,
            folder: tempfile::tempdir().context("cannot make a folder for xlb")?,
        })
    }

    /// Takes packets for `vips` out of tunnels from `sources`, which may be prefixes, at `eth0`.
    ///
    /// # Errors
    /// If it is refused.
    pub fn attach(&self, vips: &[IpAddr], sources: &[String]) -> Result<String> {
        let vips: Vec<_> = vips.iter().map(IpAddr::to_string).collect();
        let (vips, sources) = (vips.join(","), sources.join(","));
        let rules = ["--interface", "eth0", "--vip", &vips, "--source", &sources];
        let output = self.xlb(&[&["decap"], &rules[..]].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "xlb decap: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `xlb` there.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn xlb(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.host.command(binary()?);
        command.arg("--pin-dir").arg(self.pins.path());
        command.arg("--run-dir").arg(self.folder.path());
        command.args(words).output().context("cannot start xlb")
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// If nothing is attached.
    pub fn status(&self) -> Result<Value> {
        let output = self.xlb(&["decap", "--status", "-o", "json"])?;
        ensure!(output.status.success(), "{output:?}");
        let list: Value = serde_json::from_slice(&output.stdout)?;
        Ok(list["items"][0].clone())
    }

    /// Packets that met this fate.
    ///
    /// # Errors
    /// As [`Self::status`], or if there is no such fate.
    pub fn counter(&self, label: &str) -> Result<u64> {
        let packets = self.status()?["packets"][label].as_u64();
        packets.with_context(|| format!("no fate `{label}`"))
    }

    /// Where it is pinned.
    #[must_use]
    pub fn pins(&self) -> &std::path::Path {
        self.pins.path()
    }
}
