//! Configuration files for a topology.

use std::{
    fmt::{self, Write as _},
    net::SocketAddr,
};

use lb_userspace::{
    config::model::Protocol,
    lab::{Family, Topology},
};

/// A probe that finds out quickly: a backend is down after two failures, up after one success.
pub const QUICK: &str = "{ interval: 200ms, timeout: 100ms, rise: 1, fall: 2 }";

/// A service over backends of a topology.
#[derive(Clone, Copy, Debug)]
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
    /// The probe, as YAML: `none`, or one as [`QUICK`].
    pub probe: &'a str,
    /// Weights of the topology's first backends; those without one are none of the service's.
    pub weights: &'a [u16],
}

impl Service<'static> {
    /// The pages of a [`crate::fleet::Fleet`] of three.
    pub const WEB: Self = Self {
        name: "web",
        family: Family::V4,
        protocol: Protocol::Tcp,
        port: 80,
        backend_port: crate::fleet::WEB,
        probe: QUICK,
        weights: &[1, 1, 1],
    };

    /// The names that a [`crate::fleet::Fleet`] of three tells over UDP.
    pub const NAMES: Self = Self {
        name: "names",
        protocol: Protocol::Udp,
        port: 53,
        backend_port: crate::fleet::NAMES,
        probe: "none",
        ..Self::WEB
    };
}

impl Service<'_> {
    /// Where clients reach it.
    #[must_use]
    pub const fn vip(&self, topology: &Topology) -> SocketAddr {
        SocketAddr::new(topology.vip.of(self.family), self.port)
    }
}

/// The file that balances `services` in a topology: natively, at all interfaces of the balancer,
/// each in its role. Backends are called `b1`, `b2` and so on.
#[must_use]
pub fn yaml(topology: &Topology, services: &[Service<'_>]) -> String {
    let mut file = String::from("interfaces:\n");
    let roles: &[&str] = if topology.is_one_armed() {
        &["both"]
    } else {
        &["client", "backend"]
    };
    for (interface, role) in topology.interfaces().iter().zip(roles) {
        line(
            &mut file,
            format_args!("  - {{ name: {interface}, xdp: native, role: {role} }}"),
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
        protocol,
        probe,
        ..
    } = service;
    let vip = service.vip(topology);
    line(file, format_args!("  - name: {name}"));
    line(file, format_args!("    vip: \"{vip}/{protocol}\""));
    line(file, format_args!("    probe: {probe}"));
    line(file, format_args!("    backends:"));
    for (number, (backend, weight)) in (1..).zip(topology.backends.iter().zip(service.weights)) {
        let address = backend.link.address.of(service.family);
        let address = SocketAddr::new(address, service.backend_port);
        let name = format_args!("name: b{number}");
        line(
            file,
            format_args!("      - {{ {name}, address: \"{address}\", weight: {weight} }}"),
        );
    }
}

fn line(file: &mut String, text: fmt::Arguments<'_>) {
    writeln!(file, "{text}").expect("writing to a String");
}
