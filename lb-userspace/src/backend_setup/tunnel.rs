//! `ipip` and `gue`: the VIP as in `l2-dsr`, packets out of their tunnel, and segments that fit it.

use std::net::IpAddr;

use lb_common::{
    backend::{self, Tunnel},
    decap::GUE_PORT,
};

use super::{
    Facts, Script, direct,
    facts::{Tunnels, Way},
    script::{ip, listed},
};
use crate::config::model::{Mode, Protocol};

/// IPv4 and IPv6 header, each with that of TCP.
const HEADERS: (u32, u32) = (20 + 20, 40 + 20);

pub(super) fn write(facts: &Facts<'_>, script: &mut Script) {
    direct::take_vip(facts, script);
    decap(facts, script);
    kernel(facts, script);
    if facts.service.vip.protocol == Protocol::Tcp {
        announce(facts, script);
    }
}

/// Our own way out. One host has one set of rules, so those of other services are in it, too.
fn decap(facts: &Facts<'_>, script: &mut Script) {
    let Tunnels {
        vips,
        sources,
        gue_ports,
    } = &facts.tunnels;
    let words = |of: Vec<String>| of.join(" ");
    let vips = words(vips.iter().map(ToString::to_string).collect());
    let sources = words(sources.iter().map(ToString::to_string).collect());
    if sources.is_empty() {
        script.note(
            "The balancer has no route to it yet: with one, the command for the tunnel is here.",
        );
        return;
    }
    let port = match gue_ports.iter().copied().collect::<Vec<_>>().as_slice() {
        [] | [GUE_PORT] => String::new(),
        [port] => format!(" --gue-port {port}"),
        several => {
            let ports = listed(several);
            script.note(&format!(
                "Its services use the GUE ports {ports}, but one interface reads one: give them one."
            ));
            format!(" --gue-port {}", facts.service.tunnel.port)
        }
    };
    script.note(
        "Packets out of their tunnel, in XDP; called again, it follows the rules given last.",
    );
    script.run(format!(
        "xlb decap --interface \"$dev\" --vip {vips} --source {sources}{port}"
    ));
    if facts.hands_over() {
        forward(facts.address(), script);
    }
}

/// The kernel forwards what is handed to another backend.
fn forward(outer: IpAddr, script: &mut Script) {
    script.note(
        "Connections that it does not know it forwards, to the backend that the tunnel's header names.",
    );
    if outer.is_ipv4() {
        script.run("sysctl -w \"net/ipv4/conf/$dev/forwarding=1\"");
        script.run(
            "sysctl -w net.ipv4.conf.all.send_redirects=0 \"net/ipv4/conf/$dev/send_redirects=0\"",
        );
    } else {
        // Not of an interface: ip6_forward() of the kernel asks for that of `all`.
        script.run("sysctl -w net.ipv6.conf.all.forwarding=1");
        script.note(
            "A host that forwards heeds no router advertisement, unless $dev has accept_ra=2.",
        );
    }
}

/// The kernel's way out.
fn kernel(facts: &Facts<'_>, script: &mut Script) {
    let (outer, vip) = (facts.address(), facts.vip());
    let (module, options) = match (outer, vip) {
        (IpAddr::V4(_), IpAddr::V4(_)) => ("ipip", ""),
        (IpAddr::V4(_), IpAddr::V6(_)) => ("sit", ""),
        (IpAddr::V6(_), _) => ("ip6_tunnel", " mode any"),
    };
    let kind = if module == "ip6_tunnel" {
        "ip6tnl"
    } else {
        module
    };
    let device = format!("xlb-{kind}");
    let too = if facts.hands_over() {
        ", and hands none over"
    } else {
        ""
    };
    script.note(&format!(
        "Or by a device of the kernel, which takes packets for any address from anybody{too}:"
    ));
    script.or_run(format!("modprobe {module}"));
    if facts.backend.mode == Mode::Gue {
        let port = facts.service.tunnel.port;
        let fou = if outer.is_ipv6() { "fou6" } else { "fou" };
        script.or_run(format!("modprobe {fou}"));
        script.or_run(format!("{} fou add port {port} gue", ip(outer)));
    }
    script.or_run(format!(
        "{} link add {device} type {kind}{options} local {outer}",
        ip(outer)
    ));
    if vip.is_ipv4() {
        script.or_run(direct::loosen(&device));
    }
    script.or_run(format!("ip link set {device} up"));
}

/// What clients send must fit the tunnel: its answer to a SYN is the backend's, past the balancer.
fn announce(facts: &Facts<'_>, script: &mut Script) {
    let Some(Way { mtu, .. }) = facts.way else {
        return;
    };
    let (outer, vip) = (facts.address(), facts.vip());
    let mode = match facts.backend.mode {
        Mode::Gue => backend::Mode::Gue,
        _ => backend::Mode::Ipip,
    };
    let second_chance = facts.service.tunnel.second_chance;
    let overhead = u32::from(Tunnel::overhead(mode, outer.is_ipv6(), second_chance));
    let headers = if vip.is_ipv6() { HEADERS.1 } else { HEADERS.0 };
    let mss = mtu.saturating_sub(overhead + headers);
    if mss == 0 {
        return;
    }
    script.note(&format!(
        "Of {mtu} bytes on the balancer's link the tunnel takes {overhead}: segments of {mss} are left."
    ));
    let (flag, skip) = if vip.is_ipv6() {
        script.note(&format!(
            "(A route by router advertisement is the kernel's: there, net/ipv6/conf/$dev/mtu={}.)",
            mss + headers
        ));
        ("-6", "/ proto ra /d; ")
    } else {
        ("-4", "")
    };
    script.run(format!(
        "ip {flag} route show default | sed '{skip}s/ advmss [0-9]*//' | while read -r route; \
         do ip {flag} route change $route advmss {mss}; done"
    ));
}
