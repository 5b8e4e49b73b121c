//! Configuration files for a topology.

use std::{
    fmt::{self, Write as _},
    net::SocketAddr,
};

use lb_userspace::{
    config::model::{Mode, Protocol},
    lab::{Family, Topology},
};

/// A probe that finds out quickly: a backend is down after two failures, up after one success.
pub const QUICK: &str = "{ interval: 200ms, timeout: 100ms, rise: 1, fall: 2 }";

/// A service over backends of a topology.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which of the topology's VIPs.
    pub family: Family,
    /// Which of the backends' addresses; `None`: those of the VIP's family.
    pub backend_family: Option<Family>,
    /// How packets reach the backends.
    pub mode: Mode,
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
    /// More lines of YAML, such as `mss: 1400`.
    pub more: &'a [&'a str],
}

impl Service<'static> {
    /// The pages of a [`crate::fleet::Fleet`] of three.
    pub const WEB: Self = Self {
        name: "web",
        family: Family::V4,
        backend_family: None,
        mode: Mode::Nat,
        protocol: Protocol::Tcp,
        port: 80,
        backend_port: crate::fleet::WEB,
        probe: QUICK,
        weights: &[1, 1, 1],
        more: &[],
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

/// The file that balances `services` in a topology. Backends are called `b1`, `b2` and so on.
#[must_use]
pub fn yaml(topology: &Topology, services: &[Service<'_>]) -> String {
    let mut file = interfaces(topology);
    file.push_str("services:\n");
    for service in services {
        write_service(&mut file, topology, service);
    }
    file
}

/// The beginning of a file: natively, at all interfaces of the balancer, each in its role.
#[must_use]
pub fn interfaces(topology: &Topology) -> String {
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
    file
}

fn write_service(file: &mut String, topology: &Topology, service: &Service<'_>) {
    let Service {
        name,
        protocol,
        probe,
        ..
    } = service;
    let (vip, mode) = (service.vip(topology), service.mode.word());
    line(file, format_args!("  - name: {name}"));
    line(file, format_args!("    vip: \"{vip}/{protocol}\""));
    line(file, format_args!("    mode: {mode}"));
    line(file, format_args!("    probe: {probe}"));
    for more in service.more {
        line(file, format_args!("    {more}"));
    }
    line(file, format_args!("    backends:"));
    let family = service.backend_family.unwrap_or(service.family);
    for (number, (backend, weight)) in (1..).zip(topology.backends.iter().zip(service.weights)) {
        let address = SocketAddr::new(backend.link.address.of(family), service.backend_port);
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
