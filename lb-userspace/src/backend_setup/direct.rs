//! What every mode needs in which the backend answers clients itself; and `l2-dsr`, which needs
//! nothing else.

use std::net::IpAddr;

use super::{
    Facts, Script,
    facts::Way,
    script::{host, ip},
};

pub(super) fn write(facts: &Facts<'_>, script: &mut Script) {
    if let Some(Way {
        router: Some(router),
        ..
    }) = facts.way
    {
        script.note(&format!(
            "It is behind the router {router}, which l2-dsr cannot cross: take `ipip` or `gue`."
        ));
    }
    take_vip(facts, script);
}

/// Gives the backend the VIP, on `lo`, and has it keep that to itself.
pub(super) fn take_vip(facts: &Facts<'_>, script: &mut Script) {
    let vip = facts.vip();
    script.note(&format!(
        "It answers clients itself, as {vip}: its server must listen on {}.",
        facts.service.vip
    ));
    if let Some(probed) = facts.probed() {
        script.note(&format!("Probes ask it on {probed}."));
    }
    script.find_interface(facts.address());
    if vip.is_ipv4() {
        // Before the address is there: the first request must not be answered either.
        script.note("It must not answer ARP for an address of lo, nor ask in its name.");
        script.run("sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2");
        script.note("Of rp_filter the larger of `all` and the interface counts; 2 is loose.");
        script.run(loosen("$dev"));
    }
    script.run(add(vip));
}

/// Has an interface take packets whose answers leave by another one. With slashes a dot in its name
/// is no separator (sysctl(8)).
pub(super) fn loosen(interface: &str) -> String {
    format!("sysctl -w \"net/ipv4/conf/{interface}/rp_filter=2\"")
}

/// IPv6 answers neighbour solicitations only for addresses of the link itself, and there is nobody on
/// `lo` who could have the same one.
fn add(vip: IpAddr) -> String {
    let options = if vip.is_ipv6() { " nodad" } else { "" };
    format!("{} address replace {} dev lo{options}", ip(vip), host(vip))
}
