//! Facts → findings. Pure.

use super::{Facts, Finding, Offloads, Peer, Severity};
use crate::{
    config::model::{self, Role, XdpMode},
    net::{Family, View, view::Link},
};

/// The largest MTU with which a frame fits one buffer, for pages of 4 KiB: that of a veth's other end
/// (`veth_xdp_set` in the kernel's `drivers/net/veth.c`), and about that of most drivers. A program
/// that reads frames of several buffers needs Linux 5.18 and a driver that has them; xlb's does not.
pub(super) const LARGEST_MTU: u32 = 3506;

pub(super) fn missing(interface: &model::Interface, view: &View) -> Finding {
    let names: Vec<_> = view.links.values().map(|link| link.name.as_str()).collect();
    Finding {
        severity: Severity::Fatal,
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
        has_vlans: _,
        unforwarded,
    } = facts;
    if link.is_veth() {
        findings.extend(other_end(interface, link, peer.as_ref()));
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
        has_vlans,
        unforwarded: _,
    } = facts;
    let mut findings = Vec::new();
    findings.extend(ethernet(link));
    findings.extend(up(link));
    findings.extend(mtu(interface, link, peer.as_ref()));
    match offloads {
        Some(offloads) => {
            findings.extend(lro(link, *offloads));
            findings.extend(gro_hw(interface, link, *offloads));
            findings.extend(gro(interface, link, *offloads));
            findings.extend((*has_vlans).then(|| rx_vlan(link, *offloads)).flatten());
        }
        None => findings.push(unreadable(link, &link.name)),
    }
    findings.extend(tx_vlan(link, peer.as_ref()));
    findings
}

fn ethernet(link: &Link) -> Option<Finding> {
    let message = "not an Ethernet interface: xlb reads Ethernet frames only";
    link.mac
        .is_none()
        .then(|| finding(Severity::Fatal, link, message, None))
}

fn up(link: &Link) -> Option<Finding> {
    let message = "down or without carrier: no packet comes in";
    let cure = format!("ip link set {} up", link.name);
    (!link.up).then(|| finding(Severity::Warning, link, message, Some(cure)))
}

fn mtu(interface: &model::Interface, link: &Link, peer: Option<&Peer<'_>>) -> Option<Finding> {
    let end = peer.map_or(link, |peer| peer.link);
    // Of another driver only attaching tells what it takes.
    let (severity, consequence) = match interface.xdp {
        XdpMode::Auto if link.is_veth() => (
            Severity::Warning,
            "falls back to generic mode, which is slower",
        ),
        XdpMode::Native if link.is_veth() => (Severity::Fatal, "cannot be attached in native mode"),
        XdpMode::Auto => (
            Severity::Warning,
            "may have to fall back to generic mode, which is slower",
        ),
        XdpMode::Native => (
            Severity::Warning,
            "may be refused in native mode by the driver",
        ),
        XdpMode::Generic => return None,
    };
    let message = format!(
        "the MTU of {} is {}, more than the {LARGEST_MTU} of which a frame fits one buffer: the program \
         {consequence}",
        end.name, end.mtu
    );
    let cure = format!("ip link set {} mtu {LARGEST_MTU}", end.name);
    (end.mtu > LARGEST_MTU).then(|| finding(severity, link, message, Some(cure)))
}

fn lro(link: &Link, offloads: Offloads) -> Option<Finding> {
    let message =
        "large receive offload joins packets before xlb sees them: they cannot be sent on";
    let cure = format!("ethtool -K {} lro off", link.name);
    offloads
        .lro
        .then(|| finding(Severity::Fatal, link, message, Some(cure)))
}

/// In generic mode the kernel turns it off itself (`dev_disable_gro_hw`), and so do most drivers for
/// a program of their own, some without saying so: it is no reason to refuse.
fn gro_hw(interface: &model::Interface, link: &Link, offloads: Offloads) -> Option<Finding> {
    let message = "hardware joins packets before xlb sees them (GRO_HW), unless the driver stops that \
                   for XDP: joined packets cannot be sent on";
    let cure = format!("ethtool -K {} rx-gro-hw off", link.name);
    let matters = offloads.gro_hw && interface.xdp != XdpMode::Generic && !link.has_xdp;
    matters.then(|| finding(Severity::Warning, link, message, Some(cure)))
}

/// Generic mode comes behind GRO, native mode before.
fn gro(interface: &model::Interface, link: &Link, offloads: Offloads) -> Option<Finding> {
    let message = "in generic mode xlb sees packets that the kernel has joined (GRO), longer than any \
                   MTU: they are too big for every way on";
    let cure = format!("ethtool -K {} gro off", link.name);
    let matters = offloads.gro && interface.xdp == XdpMode::Generic;
    matters.then(|| finding(Severity::Warning, link, message, Some(cure)))
}

fn rx_vlan(link: &Link, offloads: Offloads) -> Option<Finding> {
    let message = "VLANs lie on this interface, and it takes the tags off before xlb sees the frames: \
                   those would be sent on without";
    let cure = format!("ethtool -K {} rxvlan off", link.name);
    // A veth carries tags as they are sent: see `tx_vlan`.
    let matters = offloads.rx_vlan && !link.is_veth();
    matters.then(|| finding(Severity::Warning, link, message, Some(cure)))
}

fn tx_vlan(link: &Link, peer: Option<&Peer<'_>>) -> Option<Finding> {
    let peer = peer.filter(|peer| peer.has_vlans)?;
    let name = &peer.link.name;
    let message = format!(
        "VLANs lie on the other end, {name}, which sends their tags beside the frames, where xlb does \
         not see them: those would be sent on without"
    );
    let cure = format!("ethtool -K {name} txvlan off");
    peer.offloads?
        .tx_vlan
        .then(|| finding(Severity::Warning, link, message, Some(cure)))
}

/// What the other end of a veth pair must be like: a packet leaves it with its checksum finished and
/// in one segment, and a frame that XDP sends to it finds a NAPI context.
fn other_end(interface: &model::Interface, link: &Link, peer: Option<&Peer<'_>>) -> Vec<Finding> {
    let is_generic = interface.xdp == XdpMode::Generic;
    let Some(peer) = peer else {
        return vec![elsewhere(link, is_generic)];
    };
    let Some(offloads) = peer.offloads else {
        return vec![unreadable(link, &peer.link.name)];
    };
    let mut findings = Vec::new();
    findings.extend(checksums(link, peer, offloads));
    // Generic mode sends as the kernel does.
    if !is_generic {
        findings.extend(napi(link, peer, offloads));
    }
    findings
}

fn elsewhere(link: &Link, is_generic: bool) -> Finding {
    let (message, cure) = if is_generic {
        (
            "the other end of this veth pair is in another namespace and cannot be looked at: it must \
             finish checksums and segments itself (tx off)",
            "ethtool -K PEER tx off, there",
        )
    } else {
        (
            "the other end of this veth pair is in another namespace and cannot be looked at: it must \
             finish checksums itself (tx off) and have a NAPI context (gro on, and an XDP program where \
             xlb answers on the interface a packet came in by)",
            "ethtool -K PEER tx off gro on, there",
        )
    };
    finding(Severity::Note, link, message, Some(cure.to_owned()))
}

/// With checksums it leaves segments to the other side.
fn checksums(link: &Link, peer: &Peer<'_>, offloads: Offloads) -> Option<Finding> {
    let name = &peer.link.name;
    let message = format!(
        "the other end, {name}, leaves checksums to hardware that a veth pair has not: what xlb \
         rewrites arrives with a wrong one and is dropped"
    );
    let cure = format!("ethtool -K {name} tx off");
    offloads
        .tx_checksumming
        .then(|| finding(Severity::Fatal, link, message, Some(cure)))
}

/// GRO makes a NAPI context, but before a fix of 2026 nobody wakes it for frames that go back by the
/// interface that they came in by (`veth_xdp_flush` in the kernel's `drivers/net/veth.c`).
fn napi(link: &Link, peer: &Peer<'_>, offloads: Offloads) -> Option<Finding> {
    let name = &peer.link.name;
    if peer.link.has_xdp {
        return None;
    }
    if offloads.gro {
        let message = format!(
            "the other end, {name}, has no XDP program: what xlb sends back by the interface it came in \
             by may count as sent and never arrive; attach one there that passes everything"
        );
        return Some(finding(Severity::Warning, link, message, None));
    }
    let message = format!(
        "the other end, {name}, has no NAPI context: what xlb sends to it is dropped in silence"
    );
    let cure = format!("ethtool -K {name} gro on");
    Some(finding(Severity::Fatal, link, message, Some(cure)))
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
