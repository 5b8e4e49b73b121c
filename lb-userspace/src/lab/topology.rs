//! Whole networks.
//!
//! ```text
//! two-armed   client ── [router ──] balancer ── switch ─┬─ backend 1
//!                                                       └─ backend n
//!
//! one-armed   client ── [router ──] switch ─┬─ balancer
//!                                           ├─ backend 1
//!                                           └─ backend n
//! ```
//!
//! Clients and backends are in different subnets, also where they share the switch, because replies
//! of `nat` must come back through the balancer. Backends have it as their default gateway. VIPs
//! are on no link: the client, or the router, sends them to the balancer. With a router the way back
//! to the client is the balancer's default route; without one the client is its neighbour.

use super::{
    LabError, Namespace, Pair, PassAll,
    addresses::{CLIENTS, SERVERS, Subnet, TRANSIT, VIPS, mac},
    ip, settle, unique_name,
};

/// What a topology has.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Backends, at most 200.
    pub backends: u8,
    /// A router between client and balancer.
    pub router: bool,
    /// The balancer's kernel forwards packets that XDP passes.
    pub forward: bool,
    /// The ends that face the balancer are made ready for XDP at its interfaces ([`settle`]), which
    /// costs the wire its offloads.
    pub settled: bool,
}

impl Default for Options {
    /// Three backends, no router, no forwarding, ready for XDP.
    fn default() -> Self {
        Self {
            backends: 3,
            router: false,
            forward: false,
            settled: true,
        }
    }
}

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

/// The balancer or the router: a host with two sides, one-armed on the same interface.
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
    /// Where xlb runs. Nothing is attached to its interfaces.
    pub balancer: Middle,
    /// Where connections go; named `b1`, `b2` and so on.
    pub backends: Vec<Host>,
    /// The LAN's bridge, `lan`; its ports are called by who is at the other end.
    pub switch: Namespace,
    /// An address that clients reach through the balancer; any service may have it.
    pub vip: Pair,
    pass_all: PassAll,
}

impl Topology {
    /// Client and backends at different interfaces of the balancer: `front0` and `back0`.
    ///
    /// # Errors
    /// If something cannot be made: usually a program is missing, or this is not root.
    pub fn two_armed(options: Options) -> Result<Self, LabError> {
        Self::build(options, ["front0", "back0"])
    }

    /// Client and backends at the one interface of the balancer, `eth0`.
    ///
    /// # Errors
    /// If something cannot be made: usually a program is missing, or this is not root.
    pub fn one_armed(options: Options) -> Result<Self, LabError> {
        Self::build(options, ["eth0", "eth0"])
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

    fn build(options: Options, interfaces: [&str; 2]) -> Result<Self, LabError> {
        let mut topology = Self::hosts(options, interfaces)?;
        ip::batch(None, &topology.wires())?;
        topology.start_switch()?;
        topology.configure_hosts()?;
        topology.balancer.namespace.forward(options.forward)?;
        if options.settled {
            topology.settle()?;
        }
        topology.wait_until_up()?;
        Ok(topology)
    }

    /// Unconnected hosts that know what their links will be.
    fn hosts(options: Options, [front, back]: [&str; 2]) -> Result<Self, LabError> {
        let lab = unique_name("xlb");
        let namespace = |host: &str| Namespace::new(format!("{lab}-{host}"));
        let uplink = if options.router { TRANSIT } else { CLIENTS };
        let router = || {
            Ok(Middle {
                namespace: namespace("router")?,
                front: link("front0", 20, CLIENTS, 1),
                back: link("back0", 21, TRANSIT, 254),
            })
        };
        let backend = |number: u8| {
            Ok(Host {
                namespace: namespace(&format!("b{number}"))?,
                link: link("eth0", 50 + number, SERVERS, 10 + number),
            })
        };
        Ok(Self {
            client: Host {
                namespace: namespace("client")?,
                link: link("eth0", 10, CLIENTS, 10),
            },
            router: options.router.then(router).transpose()?,
            balancer: Middle {
                namespace: namespace("balancer")?,
                front: link(front, 30, uplink, 1),
                back: link(back, if front == back { 30 } else { 31 }, SERVERS, 1),
            },
            backends: (1..=options.backends.min(200))
                .map(backend)
                .collect::<Result<_, LabError>>()?,
            switch: namespace("switch")?,
            vip: VIPS.host(10),
            pass_all: PassAll::load()?,
        })
    }

    /// Lines of `ip` that make every veth pair where its ends belong.
    fn wires(&self) -> Vec<String> {
        let Middle { front, back, .. } = &self.balancer;
        let balancer = &self.balancer.namespace;
        let uplink = uplink(&self.client, self.router.as_ref());
        let client = (&self.client.namespace, &self.client.link);
        let mut wires = vec![self.to_switch((balancer, back), "balancer")];
        if let Some(router) = &self.router {
            wires.push(wire(client, (&router.namespace, &router.front)));
        }
        wires.push(if self.is_one_armed() {
            self.to_switch(uplink, "uplink")
        } else {
            wire(uplink, (balancer, front))
        });
        for (number, backend) in (1..).zip(&self.backends) {
            let end = (&backend.namespace, &backend.link);
            wires.push(self.to_switch(end, &format!("b{number}")));
        }
        wires
    }

    fn to_switch(&self, end: End<'_>, port: &str) -> String {
        let switch = self.switch.name();
        format!("{} peer name {port} netns {switch}", veth(end))
    }

    /// Names of the switch's ports.
    fn ports(&self) -> Vec<String> {
        let backends = (1..=self.backends.len()).map(|number| format!("b{number}"));
        let uplink = self.is_one_armed().then(|| "uplink".to_owned());
        backends
            .chain(uplink)
            .chain(["balancer".to_owned()])
            .collect()
    }

    fn start_switch(&self) -> Result<(), LabError> {
        // Without snooping nothing waits for a querier that nobody plays.
        let mut lines = vec!["link add lan up type bridge mcast_snooping 0".to_owned()];
        let up = |port: &String| format!("link set {port} up master lan");
        lines.extend(self.ports().iter().map(up));
        self.switch.ip(lines)
    }

    fn configure_hosts(&self) -> Result<(), LabError> {
        let balancer = &self.balancer;
        balancer
            .namespace
            .ip([address(&balancer.front), address(&balancer.back)]
                .concat()
                .into_iter()
                .chain(
                    self.router
                        .iter()
                        .flat_map(|router| default_via(&router.back)),
                ))?;
        let gateway = self
            .router
            .as_ref()
            .map_or(&balancer.front, |router| &router.front);
        configure(&self.client, gateway)?;
        if let Some(router) = &self.router {
            router.namespace.forward(true)?;
            router
                .namespace
                .ip([address(&router.front), address(&router.back)]
                    .concat()
                    .into_iter()
                    .chain(default_via(&balancer.front)))?;
        }
        self.backends
            .iter()
            .try_for_each(|backend| configure(backend, &balancer.back))
    }

    fn wait_until_up(&self) -> Result<(), LabError> {
        let ports = self.ports();
        let ports: Vec<_> = ports.iter().map(String::as_str).collect();
        self.switch.wait_until_up(&ports)?;
        let middles = std::iter::once(&self.balancer).chain(&self.router);
        for Middle {
            namespace,
            front,
            back,
        } in middles
        {
            wait_for_links(namespace, &[front, back])?;
        }
        let mut hosts = std::iter::once(&self.client).chain(&self.backends);
        hosts.try_for_each(|Host { namespace, link }| wait_for_links(namespace, &[link]))
    }

    fn settle(&mut self) -> Result<(), LabError> {
        settle(&self.switch, "balancer", &mut self.pass_all)?;
        if self.is_one_armed() {
            return Ok(());
        }
        let (namespace, link) = uplink(&self.client, self.router.as_ref());
        settle(namespace, &link.interface, &mut self.pass_all)
    }
}

/// One end of a wire.
type End<'a> = (&'a Namespace, &'a Link);

/// The balancer's neighbour towards clients.
const fn uplink<'a>(client: &'a Host, router: Option<&'a Middle>) -> End<'a> {
    match router {
        Some(router) => (&router.namespace, &router.back),
        None => (&client.namespace, &client.link),
    }
}

fn wait_for_links(namespace: &Namespace, links: &[&Link]) -> Result<(), LabError> {
    let names: Vec<_> = links.iter().map(|link| link.interface.as_str()).collect();
    let addresses: Vec<_> = links.iter().map(|link| link.address.v6).collect();
    namespace.wait_until_up(&names)?;
    namespace.wait_until_local(&addresses)
}

fn link(interface: &str, mac_host: u8, subnet: Subnet, host: u8) -> Link {
    Link {
        interface: interface.to_owned(),
        mac: mac(mac_host),
        address: subnet.host(host),
    }
}

fn wire(one: End<'_>, other: End<'_>) -> String {
    let (namespace, link) = other;
    format!(
        "{} peer name {} address {} netns {}",
        veth(one),
        link.interface,
        mac_text(link.mac),
        namespace.name()
    )
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

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Lines of `ip` that bring a link up with its addresses.
fn address(link: &Link) -> Vec<String> {
    let Link {
        interface,
        mac: _,
        address,
    } = link;
    vec![
        format!("addr add {}/24 dev {interface}", address.v4),
        format!("addr add {}/64 dev {interface} nodad", address.v6),
        format!("link set {interface} up"),
    ]
}

fn default_via(gateway: &Link) -> [String; 2] {
    let Pair { v4, v6 } = gateway.address;
    [
        format!("route add 0.0.0.0/0 via {v4}"),
        format!("route add ::/0 via {v6}"),
    ]
}

fn configure(host: &Host, gateway: &Link) -> Result<(), LabError> {
    host.namespace
        .ip(address(&host.link).into_iter().chain(default_via(gateway)))
}
