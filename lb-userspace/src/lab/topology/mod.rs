//! Whole networks.
//!
//! ```text
//! two-armed   client ── [router ──] balancer ── switch ─┬─ backend 1
//!                                                       ├─ backend n
//!                                                       └─ [inner router ─┬─ backend n + 1
//!                                                                         └─ … ]
//!
//! one-armed   client ── [router ──] switch ─┬─ balancer
//!                                           ├─ backend 1
//!                                           └─ …
//!
//! pair        client ── router ─┬─ balancer ─┬─ switch ─┬─ backend 1
//!                               └─ second  ──┘          └─ …
//! ```
//!
//! Clients and backends are in different subnets, also where they share the switch, because replies
//! of `nat` must come back through the balancer. Backends have it as their default gateway. VIPs
//! are on no link: the client, or the router, sends them to the balancer. With a router the way back
//! to the client is the balancer's default route; without one the client is its neighbour.
//!
//! Where backends answer clients directly ([`WayBack::Router`]), the router has an address among
//! them, two-armed by a wire of its own to the switch, and is their default gateway.
//!
//! Of a pair, no balancer is the router's gateway: somebody must tell it the ways to the VIPs.

mod options;
mod pair;
mod plan;
mod wires;

pub use options::{Options, WayBack};
pub use pair::Second;

use self::wires::{
    End, addresses, bridge, configure, default_via, route, subnet_via, up, wait_for_links,
    wait_for_middle, wire, wire_to_port,
};
use super::{
    LabError, Namespace, Pair, PassAll,
    addresses::{FAR, VIPS},
    ip, settle,
};

/// An interface of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name, unique within its host only.
    pub interface: String,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its addresses, in a /24 and a /64.
    pub address: Pair,
}

/// A client or a backend.
#[derive(Debug)]
pub struct Host {
    /// Where it lives.
    pub namespace: Namespace,
    /// How it is connected.
    pub link: Link,
}

/// The balancer or a router: a host with two sides, one-armed on the same interface.
#[derive(Debug)]
pub struct Middle {
    /// Where it lives.
    pub namespace: Namespace,
    /// Towards clients.
    pub front: Link,
    /// Towards backends.
    pub back: Link,
}

/// A network with a client, the balancer and its backends; removed when dropped.
///
/// Unless told otherwise ([`Options::settled`]), native XDP can be attached to the balancer's
/// interfaces at once.
#[derive(Debug)]
pub struct Topology {
    /// Where connections come from.
    pub client: Host,
    /// Between client and balancer, if asked for; it forwards.
    pub router: Option<Middle>,
    /// The router's address among the backends, if it has one.
    pub shortcut: Option<Link>,
    /// Where xlb runs. Nothing is attached to its interfaces.
    pub balancer: Middle,
    /// Another balancer, of a pair.
    pub second: Option<Second>,
    /// Where connections go; named `b1`, `b2` and so on, those behind the inner router last.
    pub backends: Vec<Host>,
    /// Between the switch and the last backends, if there are such; it forwards. Its back is a bridge
    /// whose ports are called by who is at the other end.
    pub inner: Option<Middle>,
    /// The LAN's bridge, `lan`; its ports are called by who is at the other end.
    pub switch: Namespace,
    /// An address that clients reach through the balancer; any service may have it.
    pub vip: Pair,
    near: usize,
    pass_all: PassAll,
}

impl Topology {
    /// Client and backends at different interfaces of the balancer: `front0` and `back0`.
    ///
    /// # Errors
    /// If something cannot be made: usually a program is missing, or this is not root.
    pub fn two_armed(options: Options) -> Result<Self, LabError> {
        Self::build(Self::hosts(options, ["front0", "back0"])?, options)
    }

    /// Client and backends at the one interface of the balancer, `eth0`.
    ///
    /// # Errors
    /// If something cannot be made: usually a program is missing, or this is not root.
    pub fn one_armed(options: Options) -> Result<Self, LabError> {
        Self::build(Self::hosts(options, ["eth0", "eth0"])?, options)
    }

    /// Names of the balancer's interfaces, where the program is to be attached: two or one.
    #[must_use]
    pub fn interfaces(&self) -> Vec<&str> {
        let Middle { front, back, .. } = &self.balancer;
        let mut names = vec![front.interface.as_str(), back.interface.as_str()];
        names.dedup();
        names
    }

    /// Whether the balancer has one interface only.
    #[must_use]
    pub fn is_one_armed(&self) -> bool {
        self.balancer.front.interface == self.balancer.back.interface
    }

    /// Backends on the balancer's own link, and those behind the inner router.
    #[must_use]
    pub fn near_and_far(&self) -> (&[Host], &[Host]) {
        self.backends
            .split_at_checked(self.near)
            .unwrap_or((&self.backends, &[]))
    }

    /// Another address that clients reach through the balancer; that of number 10 is [`Self::vip`].
    #[must_use]
    pub const fn another_vip(&self, number: u8) -> Pair {
        VIPS.host(number)
    }

    /// Sends what a backend on the link answers another way from now on.
    ///
    /// # Errors
    /// If its routes cannot be written.
    pub fn answer_by(&self, backend: &Host, way: WayBack) -> Result<(), LabError> {
        backend.namespace.ip(default_via(self.gateway(way)))
    }

    /// Where backends send what they answer.
    fn gateway(&self, way: WayBack) -> &Link {
        let shortcut = self.shortcut.as_ref();
        let shortcut = shortcut.filter(|_| way == WayBack::Router);
        shortcut.unwrap_or(&self.balancer.back)
    }

    fn build(mut topology: Self, options: Options) -> Result<Self, LabError> {
        ip::batch(None, &topology.wires())?;
        topology.switch.ip(bridge("lan", None, &topology.ports()))?;
        topology.configure_balancer()?;
        topology.configure_second(options.forward)?;
        topology.configure_router()?;
        topology.configure_backends(options.way_back)?;
        topology.balancer.namespace.forward(options.forward)?;
        if options.settled {
            topology.settle()?;
        }
        topology.wait_until_up()?;
        Ok(topology)
    }

    /// Lines of `ip` that make every veth pair where its ends belong.
    fn wires(&self) -> Vec<String> {
        let Middle { front, back, .. } = &self.balancer;
        let balancer = &self.balancer.namespace;
        let client = (&self.client.namespace, &self.client.link);
        let mut wires = vec![wire_to_port((balancer, back), &self.switch, "balancer")];
        wires.extend(self.second_wires());
        if let Some(router) = &self.router {
            wires.push(wire(client, (&router.namespace, &router.front)));
        }
        wires.push(if self.is_one_armed() {
            wire_to_port(self.uplink(), &self.switch, "uplink")
        } else {
            wire(self.uplink(), (balancer, front))
        });
        if let Some(end) = self.shortcut_wire() {
            wires.push(wire_to_port(end, &self.switch, "router"));
        }
        if let Some(inner) = &self.inner {
            let end = (&inner.namespace, &inner.front);
            wires.push(wire_to_port(end, &self.switch, "inner"));
        }
        for (number, backend) in (1..).zip(&self.backends) {
            let inner = self.inner.as_ref().filter(|_| number > self.near);
            let bridge = inner.map_or(&self.switch, |inner| &inner.namespace);
            let end = (&backend.namespace, &backend.link);
            wires.push(wire_to_port(end, bridge, &format!("b{number}")));
        }
        wires
    }

    /// The router's end of its own wire to the switch.
    fn shortcut_wire(&self) -> Option<End<'_>> {
        let (router, shortcut) = (self.router.as_ref()?, self.shortcut.as_ref()?);
        let is_apart = shortcut.interface != router.back.interface;
        is_apart.then_some((&router.namespace, shortcut))
    }

    /// Names of the switch's ports.
    fn ports(&self) -> Vec<String> {
        let others = [
            ("balancer", true),
            ("uplink", self.is_one_armed()),
            ("router", self.shortcut_wire().is_some()),
            ("inner", self.inner.is_some()),
            ("second", self.second.is_some()),
        ];
        let others = others.into_iter().filter(|(_, exists)| *exists);
        let mut ports = backend_ports(1..=self.near);
        ports.extend(others.map(|(name, _)| name.to_owned()));
        ports
    }

    fn configure_balancer(&self) -> Result<(), LabError> {
        let Middle {
            namespace,
            front,
            back,
        } = &self.balancer;
        let mut lines = [up(front), up(back)].concat();
        if let Some(router) = &self.router {
            lines.extend(default_via(&router.back));
        }
        if let Some(inner) = &self.inner {
            lines.extend(subnet_via(FAR, &inner.front));
        }
        namespace.ip(lines)
    }

    /// The router, if there is one, and the client.
    fn configure_router(&self) -> Result<(), LabError> {
        let Some(router) = &self.router else {
            return configure(&self.client, &self.balancer.front);
        };
        let mut lines = [up(&router.front), up(&router.back)].concat();
        match &self.second {
            Some(second) => lines.extend(up(&second.uplink)),
            None => lines.extend(default_via(&self.balancer.front)),
        }
        if let Some(shortcut) = &self.shortcut {
            lines.extend(if self.shortcut_wire().is_some() {
                up(shortcut)
            } else {
                addresses(shortcut)
            });
            let inner = self.inner.as_ref();
            lines.extend(inner.iter().flat_map(|inner| subnet_via(FAR, &inner.front)));
        }
        route(&router.namespace, lines)?;
        configure(&self.client, &router.front)
    }

    fn configure_backends(&self, way: WayBack) -> Result<(), LabError> {
        let (near, far) = self.near_and_far();
        let gateway = self.gateway(way);
        near.iter()
            .try_for_each(|backend| configure(backend, gateway))?;
        let Some(inner) = &self.inner else {
            return Ok(());
        };
        let Middle { front, back, .. } = inner;
        let ports = backend_ports(self.near + 1..=self.backends.len());
        let mut lines = bridge(&back.interface, Some(back.mac), &ports);
        lines.extend([up(front), up(back)].concat());
        lines.extend(default_via(gateway));
        route(&inner.namespace, lines)?;
        far.iter().try_for_each(|backend| configure(backend, back))
    }

    fn wait_until_up(&self) -> Result<(), LabError> {
        let ports = self.ports();
        let ports: Vec<_> = ports.iter().map(String::as_str).collect();
        self.switch.wait_until_up(&ports)?;
        let routers = self.router.iter().chain(&self.inner);
        routers
            .chain([&self.balancer])
            .try_for_each(wait_for_middle)?;
        if let (Some(router), Some(shortcut)) = (&self.router, &self.shortcut) {
            wait_for_links(&router.namespace, &[shortcut])?;
        }
        self.wait_for_second()?;
        let mut hosts = std::iter::once(&self.client).chain(&self.backends);
        hosts.try_for_each(|Host { namespace, link }| wait_for_links(namespace, &[link]))
    }

    fn settle(&mut self) -> Result<(), LabError> {
        settle(&self.switch, "balancer", &mut self.pass_all)?;
        if self.is_one_armed() {
            return Ok(());
        }
        let (namespace, link) = match &self.router {
            Some(router) => (&router.namespace, &router.back),
            None => (&self.client.namespace, &self.client.link),
        };
        settle(namespace, &link.interface, &mut self.pass_all)?;
        self.settle_second()
    }

    /// The balancer's neighbour towards clients.
    fn uplink(&self) -> End<'_> {
        let client = (&self.client.namespace, &self.client.link);
        let router = self.router.as_ref();
        router.map_or(client, |router| (&router.namespace, &router.back))
    }
}

/// Names of ports towards backends.
fn backend_ports(numbers: std::ops::RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| format!("b{number}")).collect()
}
