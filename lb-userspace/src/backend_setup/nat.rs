//! `nat`: answers must come back through the balancer.

use std::net::IpAddr;

use super::{Facts, Script, facts::Way, script::ip};
use crate::config::model::{Ports, Protocol};

/// The routing table of answers, one that distributions and routing daemons leave alone.
const TABLE: u32 = 7080;

pub(super) fn write(facts: &Facts<'_>, script: &mut Script) {
    match facts.way {
        Some(Way {
            balancer: Some(balancer),
            router: None,
            ..
        }) => route_answers(facts, balancer, script),
        Some(Way {
            balancer: Some(balancer),
            router: Some(router),
            ..
        }) => {
            script.note(&format!(
                "Its answers must leave through the balancer, {balancer}, which is behind the router"
            ));
            script.note(&format!(
                "{router}: that router, not this host, must send them there."
            ));
        }
        _ => {
            script
                .note("Its answers must leave through the balancer, which has no route to it yet:");
            script.note("ask again when it has.");
        }
    }
}

/// A table that leads to the balancer, and a rule for the service's answers alone: whatever else the
/// host does goes its own way.
fn route_answers(facts: &Facts<'_>, balancer: IpAddr, script: &mut Script) {
    let address = facts.address();
    let ip = ip(address);
    let rule = format!("{} lookup {TABLE}", answers(facts));
    script.note(&format!(
        "Its answers must leave through the balancer, {balancer}; nothing else must."
    ));
    script.find_interface(address);
    script.run(format!(
        "{ip} route replace default via {balancer} dev \"$dev\" table {TABLE}"
    ));
    script.run(format!("{ip} rule delete {rule} 2>/dev/null || true"));
    script.run(format!("{ip} rule add {rule}"));
    script.note("Or everything does, where the balancer forwards what is not its own:");
    script.or_run(format!(
        "{ip} route replace default via {balancer} dev \"$dev\""
    ));
}

/// What answers look like to the routing. A server over UDP that is bound to no address asks for a
/// route before its packet has a source: there the ports must tell.
fn answers(facts: &Facts<'_>) -> String {
    let vip = facts.service.vip;
    let from = format!("from {} ", facts.address());
    let protocol = format!("ipproto {}", vip.protocol);
    let ports = vip.ports.moved_to(facts.backend.address.port());
    match (ports, vip.protocol) {
        (Ports::All, _) => format!("{from}{protocol}"),
        (ports, Protocol::Tcp) => format!("{from}{protocol} sport {ports}"),
        (ports, Protocol::Udp) => format!("{protocol} sport {ports}"),
    }
}
