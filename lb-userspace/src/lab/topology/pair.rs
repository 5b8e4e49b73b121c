//! Two balancers side by side, each on a link of its own to the router.

use super::{
    Link, Middle, Options, Topology,
    wires::{
        addresses, default_via, link, subnet_via, up, wait_for_links, wait_for_middle, wire,
        wire_to_port,
    },
};
use crate::lab::{
    LabError, Namespace,
    addresses::{FAR, SECOND_TRANSIT, SERVERS},
    settle,
};

/// The second balancer of a pair. Its interfaces are called as those of the first.
#[derive(Debug)]
pub struct Second {
    /// The balancer.
    pub balancer: Middle,
    /// The router's interface towards it.
    pub uplink: Link,
}

impl Second {
    /// Takes its links away. Routes and IPv6 addresses go with them.
    ///
    /// # Errors
    /// If they cannot be set.
    pub fn unplug(&self) -> Result<(), LabError> {
        let Middle {
            namespace,
            front,
            back,
        } = &self.balancer;
        namespace.ip([front, back].map(|link| format!("link set {} down", link.interface)))
    }

    /// Gives them back, as they were.
    ///
    /// # Errors
    /// If they cannot be set.
    pub fn plug(&self) -> Result<(), LabError> {
        let Middle {
            namespace,
            front,
            back,
        } = &self.balancer;
        let up = [front, back].map(|link| format!("link set {} up", link.interface));
        let addresses = [addresses(front), addresses(back)].concat();
        let addresses = addresses
            .iter()
            .map(|line| line.replace("addr add", "addr replace"));
        namespace.ip(up)?;
        namespace.ip(addresses)?;
        namespace.ip(default_via(&self.uplink))?;
        wait_for_middle(&self.balancer)
    }
}

impl Topology {
    /// Two balancers, client and backends at different interfaces of each, `front0` and `back0`, and a
    /// router that knows no way to a VIP.
    ///
    /// # Errors
    /// If something cannot be made: usually a program is missing, or this is not root.
    pub fn pair(options: Options) -> Result<Self, LabError> {
        let options = Options {
            router: true,
            ..options
        };
        let mut topology = Self::hosts(options, ["front0", "back0"])?;
        let name = topology
            .balancer
            .namespace
            .name()
            .replace("-balancer", "-second");
        topology.second = Some(Second {
            balancer: Middle {
                namespace: Namespace::new(name)?,
                front: link("front0", 32, SECOND_TRANSIT, 1),
                back: link("back0", 33, SERVERS, 2),
            },
            uplink: link("back1", 25, SECOND_TRANSIT, 254),
        });
        Self::build(topology, options)
    }

    /// Lines of `ip` that make the second balancer's wires.
    pub(super) fn second_wires(&self) -> Vec<String> {
        let (Some(Second { balancer, uplink }), Some(router)) = (&self.second, &self.router) else {
            return Vec::new();
        };
        let end = |link| (&balancer.namespace, link);
        vec![
            wire_to_port(end(&balancer.back), &self.switch, "second"),
            wire((&router.namespace, uplink), end(&balancer.front)),
        ]
    }

    pub(super) fn configure_second(&self, forward: bool) -> Result<(), LabError> {
        let Some(Second { balancer, uplink }) = &self.second else {
            return Ok(());
        };
        let mut lines = [up(&balancer.front), up(&balancer.back)].concat();
        // The router's end is not up yet: the gateway is known to be on the link all the same.
        lines.extend(default_via(uplink));
        if let Some(inner) = &self.inner {
            lines.extend(subnet_via(FAR, &inner.front));
        }
        balancer.namespace.ip(lines)?;
        balancer.namespace.forward(forward)
    }

    pub(super) fn wait_for_second(&self) -> Result<(), LabError> {
        let (Some(Second { balancer, uplink }), Some(router)) = (&self.second, &self.router) else {
            return Ok(());
        };
        wait_for_middle(balancer)?;
        wait_for_links(&router.namespace, &[uplink])
    }

    /// As the ends that face the first one.
    pub(super) fn settle_second(&mut self) -> Result<(), LabError> {
        let (Some(second), Some(router)) = (&self.second, &self.router) else {
            return Ok(());
        };
        settle(&self.switch, "second", &mut self.pass_all)?;
        settle(
            &router.namespace,
            &second.uplink.interface,
            &mut self.pass_all,
        )
    }
}
