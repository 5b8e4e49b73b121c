//! Probes of the path: `via_vip:` of the configuration, and what is asked by way of a VIP.

use std::sync::Arc;

use super::{
    address::parse_port_range,
    forwarding::read_sources,
    model::{Backend, Check, PortRange, Ports, Protocol, Service, ViaVip},
    problems::{Problems, Reported},
    raw::Node,
    table::Table,
    values,
};

/// Reads where such probes come from.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Result<ViaVip, Reported> {
    let table = Table::open(node, "`via_vip`", &["ports", "sources"], problems)?;
    let default = ViaVip::default();
    let ports = table.get("ports").map_or(Ok(default.ports), |node| {
        let ports = values::address(node, "`ports`", "61000-65535", parse_port_range, problems);
        ports.map(|ports| ports.value)
    });
    let sources = table
        .get("sources")
        .map_or(Ok(Vec::new()), |node| read_sources(node, problems));
    Ok(ViaVip {
        ports: ports?,
        sources: sources?,
    })
}

/// What a backend is asked by way of the VIP, and the VIP's port: what its probe asks, where that is asked of a port of
/// the service; a TCP connection where it is another port, or nothing that goes over a network. `None`: nothing that
/// can be asked.
#[must_use]
pub fn question(service: &Service, backend: &Backend) -> Option<(Arc<Check>, u16)> {
    let probe = service.probe.as_ref()?;
    let asked = probe.port.unwrap_or_else(|| backend.address.port());
    let port = vip_port(service.vip.ports, backend.address.port(), asked);
    let is_tcp = service.vip.protocol == Protocol::Tcp;
    let fits = match &*probe.check {
        Check::Tcp(_) | Check::Http(_) | Check::Grpc(_) => is_tcp,
        Check::Udp(_) | Check::Dns(_) => !is_tcp,
        Check::Exec(_) => false,
    };
    match port {
        Some(port) if fits => Some((Arc::clone(&probe.check), port)),
        _ if is_tcp => {
            let first = service.vip.ports.first();
            let port = if first == 0 { asked } else { first };
            Some((Arc::default(), port))
        }
        _ => None,
    }
}

/// The port of a VIP that leads to a port of a backend.
fn vip_port(ports: Ports, first: u16, wanted: u16) -> Option<u16> {
    let ahead = match ports {
        Ports::All => return Some(wanted),
        Ports::One(_) | Ports::Range(PortRange { .. }) => wanted.checked_sub(first)?,
    };
    let port = ports.first().checked_add(ahead)?;
    (port <= ports.last()).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_a_backend_is_found_at_the_vip() {
        let range = Ports::Range(PortRange {
            first: 8000,
            last: 8007,
        });
        assert_eq!(vip_port(Ports::One(80), 8080, 8080), Some(80));
        assert_eq!(vip_port(Ports::One(80), 8080, 9000), None);
        assert_eq!(vip_port(Ports::One(80), 8080, 8000), None);
        assert_eq!(vip_port(range, 9000, 9003), Some(8003));
        assert_eq!(vip_port(range, 9000, 9008), None);
        assert_eq!(vip_port(Ports::All, 0, 53), Some(53));
    }
}
