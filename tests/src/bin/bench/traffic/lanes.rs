//! The same network several times; what differs is what its balancer does with packets.

use std::net::{IpAddr, SocketAddr};

use lb_tests::servers;
use lb_userspace::lab::{Options, Process, Topology};

use super::server::Server;

/// Ports of the VIP, and of the backends behind it.
const SHORT: (u16, u16) = (80, 8080);
const BULK: u16 = 5201;
/// Of the service whose backend dies.
pub(crate) const WEB: (u16, u16) = (81, 8081);

/// What the balancer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It runs xlb.
    Xlb,
    /// DNAT by nftables with connection tracking.
    Nftables,
    /// It forwards; clients address the backends themselves.
    Forwarding,
}

/// A network with its servers; removed when dropped.
pub(super) struct Lane {
    kind: Kind,
    offloads: bool,
    pub(super) topology: Topology,
    /// One a backend.
    pub(super) servers: Vec<Server>,
    _iperf3: Process,
}

impl Lane {
    /// xlb's, which does not run yet, then the others.
    pub(super) fn all() -> [Self; 5] {
        [
            (Kind::Xlb, false),
            (Kind::Nftables, false),
            (Kind::Forwarding, false),
            (Kind::Nftables, true),
            (Kind::Forwarding, true),
        ]
        .map(|(kind, offloads)| Self::new(kind, offloads))
    }

    fn new(kind: Kind, offloads: bool) -> Self {
        let topology = Topology::two_armed(Options {
            // xlb leaves replies to clients that it has no neighbour for to the kernel.
            forward: true,
            settled: !offloads,
            ..Options::default()
        });
        let topology = topology.expect("namespaces");
        let backends = topology.backends.iter();
        let servers = backends.map(|host| Server::start(&host.namespace, SHORT.1));
        let [first, ..] = topology.backends.as_slice() else {
            panic!("a topology without backends");
        };
        let lane = Self {
            kind,
            offloads,
            servers: servers.collect(),
            _iperf3: servers::iperf3(&first.namespace, BULK).expect("iperf3"),
            topology,
        };
        if kind == Kind::Nftables {
            lane.load_rules();
        }
        lane
    }

    pub(super) fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Xlb => "xlb",
            Kind::Nftables => "nftables DNAT",
            Kind::Forwarding => "kernel forwarding, no balancer",
        };
        let offloads = if self.offloads { ", offloads" } else { "" };
        format!("{kind}{offloads}")
    }

    /// Where the short connection number `n` goes.
    pub(super) fn short(&self, n: u32) -> SocketAddr {
        match self.kind {
            Kind::Xlb | Kind::Nftables => SocketAddr::new(self.vip(), SHORT.0),
            Kind::Forwarding => SocketAddr::new(self.backend(n as usize), SHORT.1),
        }
    }

    /// Where iperf3 is reached: always the same backend, since each of its tests needs two
    /// connections to one server.
    pub(super) fn bulk(&self) -> SocketAddr {
        match self.kind {
            Kind::Xlb | Kind::Nftables => SocketAddr::new(self.vip(), BULK),
            Kind::Forwarding => SocketAddr::new(self.backend(0), BULK),
        }
    }

    /// The configuration of xlb in this network.
    pub(super) fn xlb_yaml(&self) -> String {
        let interfaces = self.topology.interfaces();
        let interfaces = interfaces.map_join(|name| format!("{{ name: {name}, xdp: native }}"));
        let service = |name, port, probe, backend_port, count| {
            let backends: Vec<_> = (0..count).collect();
            let backends = backends.map_join(|n| {
                let address = SocketAddr::new(self.backend(*n), backend_port);
                format!("{{ name: b{}, address: \"{address}\" }}", n + 1)
            });
            let vip = SocketAddr::new(self.vip(), port);
            format!(
                "  - name: {name}\n    vip: \"{vip}/tcp\"\n    probe: {probe}\n    \
                 backends: [{backends}]\n"
            )
        };
        let probe = "{ interval: 200ms, timeout: 100ms, rise: 1, fall: 2 }";
        let services = [
            service("short", SHORT.0, "none", SHORT.1, 3),
            service("bulk", BULK, "none", BULK, 1),
            service("web", WEB.0, probe, WEB.1, 3),
        ];
        format!(
            "interfaces: [{interfaces}]\nservices:\n{}",
            services.concat()
        )
    }

    fn load_rules(&self) {
        let vip = self.vip();
        let map = [0, 1, 2].map_join(|n| format!("{n} : {} . {}", self.backend(*n), SHORT.1));
        let rules = format!(
            "table ip bench {{
               chain prerouting {{
                 type nat hook prerouting priority dstnat;
                 ip daddr {vip} tcp dport {} dnat ip addr . port to numgen inc mod 3 map {{ {map} }}
                 ip daddr {vip} tcp dport {BULK} dnat to {}:{BULK}
               }}
             }}",
            SHORT.0,
            self.backend(0)
        );
        let balancer = &self.topology.balancer.namespace;
        balancer.run(["nft", &rules]).expect("nftables");
    }

    fn vip(&self) -> IpAddr {
        self.topology.vip.v4.into()
    }

    fn backend(&self, n: usize) -> IpAddr {
        let backends = &self.topology.backends;
        let backend = backends.iter().cycle().nth(n % backends.len());
        backend.expect("a backend").link.address.v4.into()
    }
}

/// Items as text, with commas between them.
trait MapJoin<T> {
    fn map_join(&self, text: impl Fn(&T) -> String) -> String;
}

impl<T, C: AsRef<[T]>> MapJoin<T> for C {
    fn map_join(&self, text: impl Fn(&T) -> String) -> String {
        let texts: Vec<String> = self.as_ref().iter().map(text).collect();
        texts.join(", ")
    }
}
