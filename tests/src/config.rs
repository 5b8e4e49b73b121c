//! Configuration files for a topology.

use std::{
    fmt::{self, Write as _},
    net::SocketAddr,
};

use lb_userspace::{
    config::model::Protocol,
    lab::{Family, Topology},
};

/// A service over all backends of a topology.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which of the topology's VIPs, and which of the backends' addresses.
    pub family: Family,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port of the VIP.
    pub port: u16,
    /// Port of the backends.
    pub backend_port: u16,
    /// The probe, as YAML: `none`, or `{ interval: 200ms, timeout: 100ms, rise: 1, fall: 2 }`.
    pub probe: &'a str,
}

/// The file that balances `services` in a topology: natively, at all interfaces of the balancer.
/// Backends are called `b1`, `b2` and so on.
#[must_use]
pub fn yaml(topology: &Topology, services: &[Service<'_>]) -> String {
    let mut file = String::from("interfaces:\n");
    for interface in topology.interfaces() {
        line(
            &mut file,
            format_args!("  - {{ name: {interface}, xdp: native }}"),
        );
    }
    file.push_str("services:\n");
    for service in services {
        write_service(&mut file, topology, service);
    }
    file
}

fn write_service(file: &mut String, topology: &Topology, service: &Service<'_>) {
    let Service {
        name,
        family,
        protocol,
        port,
        backend_port,
        probe,
    } = service;
    let vip = SocketAddr::new(topology.vip.of(*family), *port);
    line(file, format_args!("  - name: {name}"));
    line(file, format_args!("    vip: \"{vip}/{protocol}\""));
    line(file, format_args!("    probe: {probe}"));
    line(file, format_args!("    backends:"));
    for (number, backend) in (1..).zip(&topology.backends) {
        let address = SocketAddr::new(backend.link.address.of(*family), *backend_port);
        line(
            file,
            format_args!("      - {{ name: b{number}, address: \"{address}\" }}"),
        );
    }
}

fn line(file: &mut String, text: fmt::Arguments<'_>) {
    writeln!(file, "{text}").expect("writing to a String");
}
