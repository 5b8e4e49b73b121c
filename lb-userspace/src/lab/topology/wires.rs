//! Links, and lines of `ip` that make them.

use super::{Host, Link, Middle};
use crate::lab::{
    LabError, Namespace, Pair,
    addresses::{Subnet, mac},
};

/// One end of a wire.
pub(super) type End<'a> = (&'a Namespace, &'a Link);

pub(super) fn link(interface: &str, mac_host: u8, subnet: Subnet, host: u8) -> Link {
    Link {
        interface: interface.to_owned(),
        mac: mac(mac_host),
        address: subnet.host(host),
    }
}

/// A veth pair between two hosts.
pub(super) fn wire(one: End<'_>, other: End<'_>) -> String {
    let (namespace, link) = other;
    let Link { interface, mac, .. } = link;
    let mac = mac_text(*mac);
    format!(
        "{} peer name {interface} address {mac} netns {}",
        veth(one),
        namespace.name()
    )
}

/// A veth pair from a host to a port of a bridge.
pub(super) fn wire_to_port(end: End<'_>, bridge: &Namespace, port: &str) -> String {
    format!("{} peer name {port} netns {}", veth(end), bridge.name())
}

/// The near end of a veth pair.
fn veth((namespace, link): End<'_>) -> String {
    format!(
        "link add name {} address {} netns {} type veth",
        link.interface,
        mac_text(link.mac),
        namespace.name()
    )
}

/// Lines that make a bridge, and bring its ports up.
pub(super) fn bridge(name: &str, mac: Option<[u8; 6]>, ports: &[String]) -> Vec<String> {
    let address = mac.map_or_else(String::new, |mac| format!(" address {}", mac_text(mac)));
    // Without snooping nothing waits for a querier that nobody plays.
    let bridge = format!("link add {name}{address} up type bridge mcast_snooping 0");
    let up = |port: &String| format!("link set {port} up master {name}");
    std::iter::once(bridge)
        .chain(ports.iter().map(up))
        .collect()
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Lines that give a link its addresses.
pub(super) fn addresses(link: &Link) -> Vec<String> {
    let Link {
        interface,
        mac: _,
        address: Pair { v4, v6 },
    } = link;
    vec![
        format!("addr add {v4}/24 dev {interface}"),
        format!("addr add {v6}/64 dev {interface} nodad"),
    ]
}

/// Lines that bring a link up with its addresses.
pub(super) fn up(link: &Link) -> Vec<String> {
    let mut lines = addresses(link);
    lines.push(format!("link set {} up", link.interface));
    lines
}

/// Lines that lead everything by a gateway.
pub(super) fn default_via(gateway: &Link) -> [String; 2] {
    let Pair { v4, v6 } = gateway.address;
    [
        format!("route replace 0.0.0.0/0 via {v4}"),
        format!("route replace ::/0 via {v6}"),
    ]
}

/// Lines that lead a subnet by a gateway.
pub(super) fn subnet_via(subnet: Subnet, gateway: &Link) -> [String; 2] {
    let (network, Pair { v4, v6 }) = (subnet.host(0), gateway.address);
    [
        format!("route add {}/24 via {v4}", network.v4),
        format!("route add {}/64 via {v6}", network.v6),
    ]
}

pub(super) fn configure(host: &Host, gateway: &Link) -> Result<(), LabError> {
    host.namespace
        .ip(up(&host.link).into_iter().chain(default_via(gateway)))
}

/// Has a host forward packets, and say of each that it cannot forward why.
pub(super) fn route(router: &Namespace, lines: Vec<String>) -> Result<(), LabError> {
    router.forward(true)?;
    router.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    router.sysctl("net/ipv6/icmp/ratelimit", "0")?;
    router.ip(lines)
}

/// Waits until links carry packets.
pub(super) fn wait_for_links(namespace: &Namespace, links: &[&Link]) -> Result<(), LabError> {
    let names: Vec<_> = links.iter().map(|link| link.interface.as_str()).collect();
    let addresses: Vec<_> = links.iter().map(|link| link.address.v6).collect();
    namespace.wait_until_up(&names)?;
    namespace.wait_until_local(&addresses)
}

pub(super) fn wait_for_middle(middle: &Middle) -> Result<(), LabError> {
    let Middle {
        namespace,
        front,
        back,
    } = middle;
    wait_for_links(namespace, &[front, back])
}
