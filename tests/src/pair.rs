//! A second balancer beside a network's own: on the backends' switch, and behind the clients' router, which
//! sends flows to one or to the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Middle, Namespace, Pair, PassAll, Topology, settle, unique_name};

use crate::flood::Wire;

/// Port where balancers hear each other.
const PORT: u16 = 7472;

/// Where the second balancer is, towards the router, and the router there.
const FRONT: Pair = pair([10, 9, 9, 1], 0x99, 1);
const ROUTER: Pair = pair([10, 9, 9, 254], 0x99, 0x254);
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 9, 9, 0xfe];
const FRONT_MAC: [u8; 6] = [2, 0, 0, 9, 9, 1];
/// And among the backends.
const BACK: Pair = pair([10, 0, 0, 2], 0xa, 2);

const fn pair(v4: [u8; 4], subnet: u16, host: u16) -> Pair {
    let [a, b, c, d] = v4;
    Pair {
        v4: Ipv4Addr::new(a, b, c, d),
        v6: Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, host),
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// The topology's own.
    First,
    /// The other one.
    Second,
}

/// The second balancer's host; its interfaces are called as those of the first.
#[derive(Debug)]
pub struct Second<'t> {
    topology: &'t Topology,
    /// Where it lives.
    pub namespace: Namespace,
    _pass_all: PassAll,
}

impl<'t> Second<'t> {
    /// Puts it into a two-armed topology with a router.
    ///
    /// # Errors
    /// If something cannot be made.
    pub fn join(topology: &'t Topology) -> Result<Self> {
        let router = router(topology)?;
        let namespace = Namespace::new(unique_name("xlb-second"))?;
        let (own, others) = (namespace.name(), router.namespace.name());
        namespace.ip([
            format!(
                "link add name front0 address {} netns {own} type veth peer name back1 address {} netns {others}",
                text(FRONT_MAC),
                text(ROUTER_MAC)
            ),
            format!(
                "link add name back0 netns {own} type veth peer name second netns {}",
                topology.switch.name()
            ),
        ])?;
        topology.switch.ip(["link set second up master lan"])?;
        router.namespace.ip(up("back1", ROUTER))?;
        let lines = [up("front0", FRONT), up("back0", BACK), default_via(ROUTER)];
        namespace.ip(lines.concat())?;
        namespace.forward(false)?;
        let mut pass_all = PassAll::load()?;
        settle(&topology.switch, "second", &mut pass_all)?;
        settle(&router.namespace, "back1", &mut pass_all)?;
        namespace.wait_until_up(&["front0", "back0"])?;
        namespace.wait_until_local(&[FRONT.v6, BACK.v6])?;
        router.namespace.wait_until_local(&[ROUTER.v6])?;
        Ok(Self {
            topology,
            namespace,
            _pass_all: pass_all,
        })
    }

    /// The network that it is in.
    #[must_use]
    pub const fn topology(&self) -> &'t Topology {
        self.topology
    }

    /// Sends everything for VIPs, and what backends answer, through a balancer.
    ///
    /// # Errors
    /// If a route cannot be written.
    pub fn lead_through(&self, balancer: Balancer) -> Result<()> {
        let Middle { front, back, .. } = &self.topology.balancer;
        let (front, back) = match balancer {
            Balancer::First => (front.address, back.address),
            Balancer::Second => (FRONT, BACK),
        };
        router(self.topology)?.namespace.ip(default_via(front))?;
        for backend in &self.topology.backends {
            backend.namespace.ip(default_via(back))?;
        }
        Ok(())
    }

    /// Where a balancer listens for the other.
    #[must_use]
    pub const fn listens(&self, balancer: Balancer) -> SocketAddr {
        let address = match balancer {
            Balancer::First => self.topology.balancer.back.address.v4,
            Balancer::Second => BACK.v4,
        };
        SocketAddr::new(IpAddr::V4(address), PORT)
    }

    /// The way by a balancer.
    ///
    /// # Errors
    /// If the topology has no router.
    pub fn wire(&self, balancer: Balancer) -> Result<Wire<'t>> {
        let first = Wire::of(self.topology)?;
        Ok(match balancer {
            Balancer::First => first,
            Balancer::Second => Wire {
                interface: "back1".to_owned(),
                macs: [ROUTER_MAC, FRONT_MAC],
                port: "second",
                ..first
            },
        })
    }

    /// The lines of a file that make a balancer one of the two.
    #[must_use]
    pub fn lines(&self, balancer: Balancer, key_file: &std::path::Path) -> String {
        let [first, second] = [Balancer::First, Balancer::Second].map(|it| self.listens(it));
        format!(
            "hash_seed: pair\npeers:\n  listen: {}\n  key_file: {}\n  others: [{first}, {second}]\n",
            self.listens(balancer),
            key_file.display()
        )
    }
}

fn router(topology: &Topology) -> Result<&Middle> {
    topology
        .router
        .as_ref()
        .context("a topology without router")
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn up(interface: &str, Pair { v4, v6 }: Pair) -> Vec<String> {
    vec![
        format!("addr add {v4}/24 dev {interface}"),
        format!("addr add {v6}/64 dev {interface} nodad"),
        format!("link set {interface} up"),
    ]
}

fn default_via(Pair { v4, v6 }: Pair) -> Vec<String> {
    vec![
        format!("route replace 0.0.0.0/0 via {v4}"),
        format!("route replace ::/0 via {v6}"),
    ]
}
