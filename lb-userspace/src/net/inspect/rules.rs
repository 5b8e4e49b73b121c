//! Facts → findings. Pure.

use super::{Facts, Finding, Offloads, Peer, Severity};
use crate::{
    config::model::{self, Role, XdpMode},
    net::{Family, View, view::Link},
};

/// The largest MTU of a veth's other end with which a program without fragments may be attached,
/// for pages of 4 KiB (`veth_xdp_set` in the kernel's `drivers/net/veth.c`).
pub(super) const LARGEST_VETH_MTU: u32 = 3506;

pub(super) fn missing(interface: &model::Interface, view: &View) -> Finding {
    let names: Vec<_> = view.links.values().map(|link| link.name.as_str()).collect();
    Finding {
        severity: Severity::Error,
        interface: interface.name.clone(),
        message: format!(
            "no such interface in this network namespace, which has {}",
            names.join(", ")
        ),
        cure: None,
    }
}

pub(super) fn judge(interface: &model::Interface, facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = judge_receiver(interface, facts);
    let Facts {
        link,
        offloads: _,
        peer,
        unforwarded,
    } = facts;
    if link.is_veth() {
        findings.extend(other_end(link, peer.as_ref()));
    }
    if interface.role != Role::Client {
        findings.extend(unforwarded.iter().map(|family| forwarding(link, *family)));
    }
    findings
}

/// What matters where frames only come in.
pub(super) fn judge_receiver(interface: &model::Interface, facts: &Facts<'_>) -> Vec<Finding> {
    let Facts {
        link,
        offloads,
        peer,
        unforwarded: _,
    } = facts;
    let mut findings = Vec::new();
    findings.extend(ethernet(link));
    findings.extend(up(link));
    findings.extend(mtu(interface, link, peer.as_ref()));
    findings.extend(lro(link, *offloads));
    findings
}

fn ethernet(link: &Link) -> Option<Finding> {
    let message = "not an Ethernet interface: xlb reads Ethernet frames only";
    link.mac
        .is_none()
        .then(|| finding(Severity::Error, link, message, None))
}

fn up(link: &Link) -> Option<Finding> {
    let message = "down or without carrier: no packet comes in";
    let cure = format!("ip link set {} up", link.name);
    (!link.up).then(|| finding(Severity::Warning, link, message, Some(cure)))
}

fn mtu(interface: &model::Interface, link: &Link, peer: Option<&Peer<'_>>) -> Option<Finding> {
    let end = peer.map_or(link, |peer| peer.link);
    let is_too_large = link.is_veth() && end.mtu > LARGEST_VETH_MTU;
    let (severity, consequence) = match interface.xdp {
        XdpMode::Auto => (
            Severity::Warning,
            "falls back to generic mode, which is slower",
        ),
        XdpMode::Native => (Severity::Error, "cannot be attached in native mode"),
        XdpMode::Generic => return None,
    };
    let message = format!(
        "the MTU of {} is {}, more than {LARGEST_VETH_MTU}: the program {consequence}",
        end.name, end.mtu
    );
    let cure = format!("ip link set {} mtu 1500", end.name);
    is_too_large.then(|| finding(severity, link, message, Some(cure)))
}

fn lro(link: &Link, offloads: Option<Offloads>) -> Option<Finding> {
    let message =
        "large receive offload joins packets before xlb sees them: they cannot be sent on";
    let cure = format!("ethtool -K {} lro off", link.name);
    match offloads {
        Some(offloads) => offloads
            .lro
            .then(|| finding(Severity::Error, link, message, Some(cure))),
        None => Some(unreadable(link, &link.name)),
    }
}

/// What the other end of a veth pair must be like: a packet leaves it with its checksum finished, and
/// a frame that XDP sends to it finds a NAPI context.
fn other_end(link: &Link, peer: Option<&Peer<'_>>) -> Vec<Finding> {
    let Some(peer) = peer else {
        return vec![elsewhere(link)];
    };
    let Some(offloads) = peer.offloads else {
        return vec![unreadable(link, &peer.link.name)];
    };
    [checksums(link, peer, offloads), napi(link, peer, offloads)]
        .into_iter()
        .flatten()
        .collect()
}

fn elsewhere(link: &Link) -> Finding {
    let message = "the other end of this veth pair is in another namespace and cannot be looked at: \
                   it must finish checksums itself (tx off) and have a NAPI context (gro on, and an \
                   XDP program where xlb answers on the interface a packet came in by)";
    let cure = "ethtool -K PEER tx off gro on, there".to_owned();
    finding(Severity::Note, link, message, Some(cure))
}

fn checksums(link: &Link, peer: &Peer<'_>, offloads: Offloads) -> Option<Finding> {
    let name = &peer.link.name;
    let message = format!(
        "the other end, {name}, leaves checksums to hardware that a veth pair has not: what xlb \
         rewrites arrives with a wrong one and is dropped"
    );
    let cure = format!("ethtool -K {name} tx off");
    offloads
        .tx_checksumming
        .then(|| finding(Severity::Error, link, message, Some(cure)))
}

fn napi(link: &Link, peer: &Peer<'_>, offloads: Offloads) -> Option<Finding> {
    let name = &peer.link.name;
    let message = format!(
        "the other end, {name}, has no NAPI context: what xlb sends to it is dropped in silence"
    );
    let cure = format!("ethtool -K {name} gro on");
    let has_napi = offloads.gro || peer.link.has_xdp;
    (!has_napi).then(|| finding(Severity::Error, link, message, Some(cure)))
}

fn unreadable(link: &Link, of: &str) -> Finding {
    let message = format!("the offloads of {of} cannot be read: ethtool is missing or failed");
    let cure = format!("ethtool -k {of}");
    finding(Severity::Warning, link, message, Some(cure))
}

/// Without forwarding the FIB helper answers nothing, and there is no kernel to fall back to.
fn forwarding(link: &Link, family: Family) -> Finding {
    let message = format!(
        "{family} forwarding is off: replies to clients on a link, or behind a router that is not \
         resolved, are dropped"
    );
    // With slashes a dot in the interface's name is no separator (sysctl(8)).
    let key = format!("net/{}/conf/{}/forwarding", sysctl_name(family), link.name);
    let cure = format!("sysctl -w {key}=1");
    finding(Severity::Warning, link, message, Some(cure))
}

pub(super) const fn sysctl_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn finding(
    severity: Severity,
    link: &Link,
    message: impl Into<String>,
    cure: Option<String>,
) -> Finding {
    Finding {
        severity,
        interface: link.name.clone(),
        message: message.into(),
        cure,
    }
}
