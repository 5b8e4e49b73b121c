//! A balancer with many services and backends, and the hosts that answer for them.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use lb_tests::{daemon::Xlb, wait::eventually};
use lb_userspace::{
    api::types::Status,
    lab::{LabError, Namespace, unique_name},
};

/// Slots of each service.
pub(crate) const SLOTS: u32 = 1 << 16;
/// The balancer's interface.
const INTERFACE: &str = "eth0";

/// What a configuration file is to say: services whose backends are the same hosts, each service on
/// a port of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    /// Services, at least one.
    pub(crate) services: u16,
    /// Backends of the first service; all others have [`BACKENDS`].
    pub(crate) backends: u8,
    /// Weight of the first service's first backend; all others have 1.
    pub(crate) weight: u16,
}

/// Backends of each service.
pub(crate) const BACKENDS: u8 = 100;

impl Fleet {
    /// So many services, all weights 1.
    pub(crate) const fn new(services: u16) -> Self {
        Self {
            services,
            backends: BACKENDS,
            weight: 1,
        }
    }

    /// The file.
    pub(crate) fn yaml(self) -> String {
        let mut file = format!(
            "interfaces: [{{ name: {INTERFACE}, xdp: native }}]\nhash_seed: bench\nservices:\n"
        );
        for service in 0..self.services {
            self.write_service(&mut file, service);
        }
        file
    }

    fn write_service(self, file: &mut String, service: u16) {
        let (backends, first_weight) = if service == 0 {
            (self.backends, self.weight)
        } else {
            (BACKENDS, 1)
        };
        write!(
            file,
            "  - name: s{service}\n    vip: 203.0.113.10:{}/tcp\n    slots: {SLOTS}\n    \
             probe: {{ interval: 1s, timeout: 500ms }}\n    backends:\n",
            8000 + service
        )
        .expect("writing to a String");
        for number in 0..backends {
            let weight = if number == 0 { first_weight } else { 1 };
            writeln!(
                file,
                "      - {{ address: \"{}\", weight: {weight} }}",
                backend(service, number)
            )
            .expect("writing to a String");
        }
    }
}

/// Where a backend of a service listens.
pub(crate) fn backend(service: u16, number: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, 128 + number), 8000 + service))
}

/// The balancer's host, and one that stands for all backends; removed when dropped.
#[derive(Debug)]
pub(crate) struct Lan {
    pub(crate) balancer: Namespace,
    pub(crate) hosts: Namespace,
}

impl Lan {
    /// Joins them by a wire. The balancer's kernel knows its neighbours' addresses from the start.
    pub(crate) fn new() -> Result<Self, LabError> {
        let lab = unique_name("xlb-bench");
        let lan = Self {
            balancer: Namespace::new(format!("{lab}-balancer"))?,
            hosts: Namespace::new(format!("{lab}-hosts"))?,
        };
        let peer = lan.hosts.name();
        lan.balancer.ip([
            format!("link add {INTERFACE} type veth peer name eth0 address 02:00:00:00:00:02 netns {peer}"),
            format!("addr add 10.0.0.1/24 dev {INTERFACE}"),
            format!("link set {INTERFACE} up"),
        ])?;
        lan.hosts.ip([
            "addr add 10.0.0.2/24 dev eth0",
            "link set eth0 up",
            "route add local 10.0.0.128/25 dev lo",
        ])?;
        lan.balancer.wait_until_up(&[INTERFACE])?;
        let neighbour = |host| {
            format!(
                "neigh add 10.0.0.{host} lladdr 02:00:00:00:00:02 dev {INTERFACE} nud permanent"
            )
        };
        lan.balancer.ip((128..=228).map(neighbour))?;
        Ok(lan)
    }
}

/// A file of many services, each with so many backends of its own at addresses of [`Lan::wide`].
pub(crate) fn many_backends(services: usize, backends: usize, probe: &str) -> String {
    let mut file = format!(
        "interfaces: [{{ name: {INTERFACE}, xdp: native }}]\nhash_seed: bench\nservices:\n"
    );
    let mut hosts = (0..).map(|host: u32| Ipv4Addr::from_bits(0x0a01_0000 + host));
    for service in 0..services {
        writeln!(
            file,
            "  - name: s{service}\n    vip: 203.0.113.10:{}/tcp\n    probe: {probe}\n    backends:",
            8000 + service
        )
        .expect("writing to a String");
        for host in hosts.by_ref().take(backends) {
            writeln!(file, "      - \"{host}:{WIDE_PORT}\"").expect("writing to a String");
        }
    }
    file
}

/// Where backends of [`Lan::wide`] listen.
pub(crate) const WIDE_PORT: u16 = 8000;
/// Until all backends have answered.
const ALL_UP: Duration = Duration::from_secs(30);

impl Lan {
    /// The same; the host has 10.1.0.0/16, too, behind an address of its own.
    pub(crate) fn wide() -> Result<Self, LabError> {
        let lan = Self::new()?;
        lan.hosts.ip(["route add local 10.1.0.0/16 dev lo"])?;
        lan.balancer.ip(["route add 10.1.0.0/16 via 10.0.0.128"])?;
        Ok(lan)
    }

    /// Threads take connections to any address of the hosts, and end with the process.
    pub(crate) fn answer(&self) {
        let bind = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, WIDE_PORT));
        let listener = self.hosts.enter(bind).expect("the namespace");
        let listener = listener.expect("a free port");
        // A listener of the standard library lets 128 wait.
        socket2::SockRef::from(&listener)
            .listen(4096)
            .expect("a longer queue");
        thread::spawn(move || listener.incoming().for_each(drop));
    }
}

/// Waits until every service of a balancer has all of its backends.
pub(crate) fn wait_until_up(xlb: &Xlb<'_>) {
    let healthy = || {
        let status: Status = serde_json::from_value(xlb.json(&["status"]).ok()?).ok()?;
        status.healthy().then_some(())
    };
    eventually("all backends are up", ALL_UP, healthy)
        .unwrap_or_else(|error| panic!("{error}\n{}", xlb.log()));
}
