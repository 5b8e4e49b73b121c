//! What cannot work as the host is set up, each with the command that mends it.
//!
//! Facts are gathered here and judged in `rules`. What lies behind a veth in another namespace
//! cannot be seen; the rules then say what must hold there.

use std::{fmt, fs};

use serde::Serialize;

use super::{Family, View, view::Link};
use crate::config::model;

mod offloads;
mod rules;

use offloads::Offloads;

/// Something about the set-up of the host that an operator must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The interface it is about.
    pub interface: String,
    /// What was found and what it leads to.
    pub message: String,
    /// The command that mends it, where one can.
    pub cure: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.message)?;
        match &self.cure {
            Some(cure) => write!(f, "; run: {cure}"),
            None => Ok(()),
        }
    }
}

/// How bad a [`Finding`] is, and what `xlb run` makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something matters and cannot be looked at from here.
    Note,
    /// Some packets may be lost, or something could not be looked at.
    Warning,
    /// Packets are lost.
    Error,
    /// Nothing that goes this way arrives: `xlb run` does not begin so.
    Fatal,
}

/// What is known of one configured interface.
#[derive(Debug)]
struct Facts<'a> {
    link: &'a Link,
    offloads: Option<Offloads>,
    peer: Option<Peer<'a>>,
    /// Whether VLANs lie on it, so that tagged frames come in.
    has_vlans: bool,
    /// Families whose packets the kernel does not forward when they come in here.
    unforwarded: Vec<Family>,
}

/// The other end of a veth pair in this namespace.
#[derive(Debug)]
struct Peer<'a> {
    link: &'a Link,
    offloads: Option<Offloads>,
    /// Whether VLANs lie on it, so that it sends tagged frames.
    has_vlans: bool,
}

/// Looks at each of `interfaces`; `families` are those of the services. Runs `ethtool`.
pub async fn inspect(
    view: &View,
    interfaces: &[model::Interface],
    families: &[Family],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in interfaces {
        let Some(link) = view.link(&interface.name) else {
            findings.push(rules::missing(interface, view));
            continue;
        };
        let facts = gather(view, link, families).await;
        findings.extend(rules::judge(interface, &facts));
    }
    findings
}

/// The same for interfaces on which XDP sends nothing: `xlb decap`.
pub async fn inspect_receivers(view: &View, interfaces: &[model::Interface]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in interfaces {
        let Some(link) = view.link(&interface.name) else {
            findings.push(rules::missing(interface, view));
            continue;
        };
        let facts = gather(view, link, &[]).await;
        findings.extend(rules::judge_receiver(interface, &facts));
    }
    findings
}

async fn gather<'a>(view: &'a View, link: &'a Link, families: &[Family]) -> Facts<'a> {
    let peer = match link.peer.and_then(|index| view.links.get(&index)) {
        Some(peer) => Some(Peer {
            link: peer,
            offloads: Offloads::read(&peer.name).await,
            has_vlans: has_vlans(view, peer),
        }),
        None => None,
    };
    let unforwarded = families.iter().copied();
    Facts {
        link,
        offloads: Offloads::read(&link.name).await,
        peer,
        has_vlans: has_vlans(view, link),
        unforwarded: unforwarded
            .filter(|family| !is_forwarded(&link.name, *family))
            .collect(),
    }
}

fn has_vlans(view: &View, link: &Link) -> bool {
    let mut links = view.links.values();
    links.any(|other| other.is_vlan() && other.peer == Some(link.index))
}

/// The switch that the FIB helper looks at: that of the interface a packet came in by
/// (`bpf_ipv4_fib_lookup`, `bpf_ipv6_fib_lookup` in the kernel's `net/core/filter.c`).
fn is_forwarded(interface: &str, family: Family) -> bool {
    let family = rules::sysctl_name(family);
    let path = format!("/proc/sys/net/{family}/conf/{interface}/forwarding");
    fs::read_to_string(path).is_ok_and(|value| value.trim() != "0")
}

#[cfg(test)]
mod tests;
