//! Whose the remembered flows are: entries of backends may have been freed, or moved with their service's
//! extent.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::flow::{Flow, FlowKey, Side};

use super::{Installed, state::Forwarding};
use crate::config::model::{Ports, Vip};

/// The backends whose flows are remembered.
#[derive(Clone, Debug, Default)]
pub struct FlowOwners {
    owners: HashMap<u32, Owner>,
    /// By the backend's address.
    pairs: HashMap<IpAddr, Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    vip: Vip,
    backend: SocketAddr,
    is_full_nat: bool,
}

/// How the pair stands that a flow names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is that of the flow's backend.
    Right,
    /// This one is.
    Moved(u32),
    /// The backend is gone.
    Gone,
}

impl FlowOwners {
    /// The backends that are installed.
    #[must_use]
    pub fn of(installed: &Installed) -> Self {
        let mut all = Self::default();
        for (vip, service) in &installed.services {
            for (pair, entry) in service.backends() {
                let is_full_nat = match entry.forwarding {
                    Forwarding::Nat => false,
                    Forwarding::FullNat(_) => true,
                    Forwarding::L2Dsr | Forwarding::Ipip(_) | Forwarding::Gue(..) => continue,
                };
                let owner = Owner {
                    vip: *vip,
                    backend: entry.address,
                    is_full_nat,
                };
                all.owners.insert(pair, owner);
                all.pairs.entry(entry.address.ip()).or_default().push(pair);
            }
        }
        all
    }

    /// How the pair stands that an entry of `FLOWS` names.
    #[must_use]
    pub fn judge(&self, key: &FlowKey, flow: &Flow) -> Standing {
        let parties = Parties::of(key, flow);
        let is_owner = |pair: u32| {
            let owner = self.owners.get(&pair);
            owner.is_some_and(|owner| owner.has(&parties))
        };
        if is_owner(flow.pair) {
            return Standing::Right;
        }
        let pairs = self.pairs.get(&parties.backend.ip()).into_iter().flatten();
        let moved = pairs.copied().find(|pair| is_owner(*pair));
        moved.map_or(Standing::Gone, Standing::Moved)
    }
}

/// Whom a flow is between, but for the client.
struct Parties {
    vip: IpAddr,
    backend: SocketAddr,
    protocol: u8,
    is_full_nat: bool,
}

impl Parties {
    fn of(key: &FlowKey, flow: &Flow) -> Self {
        let [a, b, _, _] = key.ports;
        let (vip, backend, port) = if key.is_of(Side::Client) {
            let port = flow.ports().destination;
            (key.destination, flow.destination, port)
        } else {
            (flow.source, key.source, [a, b])
        };
        Self {
            vip: vip.into(),
            backend: SocketAddr::new(backend.into(), u16::from_be_bytes(port)),
            protocol: key.protocol(),
            is_full_nat: flow.pool != Flow::NO_POOL,
        }
    }
}

impl Owner {
    fn has(&self, parties: &Parties) -> bool {
        let Self {
            vip,
            backend,
            is_full_nat,
        } = self;
        let ports = vip.ports.moved_to(backend.port());
        vip.address == parties.vip
            && vip.protocol.number() == parties.protocol
            && backend.ip() == parties.backend.ip()
            && ports.overlap(Ports::One(parties.backend.port()))
            && *is_full_nat == parties.is_full_nat
    }
}

#[cfg(test)]
mod tests {
    use lb_common::wire::Ports as Wire;

    use super::*;

    fn owners(pair: u32, is_full_nat: bool) -> FlowOwners {
        let owner = Owner {
            vip: "203.0.113.10:8000-8009/tcp".parse().unwrap(),
            backend: "10.0.0.11:9000".parse().unwrap(),
            is_full_nat,
        };
        FlowOwners {
            owners: [(pair, owner)].into(),
            pairs: [(owner.backend.ip(), vec![pair])].into(),
        }
    }

    fn entry(side: Side, pair: u32, port: u16) -> (FlowKey, Flow) {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap().into();
        let ports = |source: u16, destination: u16| Wire {
            source: source.to_be_bytes(),
            destination: destination.to_be_bytes(),
        };
        let (client, vip) = (ip("198.51.100.1"), ip("203.0.113.10"));
        let (pool, backend) = (ip("192.0.2.1"), ip("10.0.0.11"));
        let flow = |source, destination, ports: Wire| Flow {
            source,
            destination,
            ports: [ports.source, ports.destination]
                .concat()
                .try_into()
                .unwrap(),
            pair,
            ..Flow::default()
        };
        match side {
            Side::Client => (
                FlowKey::new(side, client, vip, ports(7, port - 1000), 6),
                flow(pool, backend, ports(10_000, port)),
            ),
            Side::Backend => (
                FlowKey::new(side, backend, pool, ports(port, 10_000), 6),
                flow(vip, client, ports(port - 1000, 7)),
            ),
        }
    }

    #[test]
    fn both_sides_of_a_flow_find_their_backend() {
        for side in [Side::Client, Side::Backend] {
            let judge = |owners: &FlowOwners, pair, port| {
                let (key, flow) = entry(side, pair, port);
                owners.judge(&key, &flow)
            };
            let full_nat = owners(5, true);
            assert_eq!(judge(&full_nat, 5, 9003), Standing::Right);
            assert_eq!(judge(&full_nat, 4, 9003), Standing::Moved(5));
            assert_eq!(judge(&full_nat, 4, 9010), Standing::Gone);
            assert_eq!(judge(&owners(5, false), 5, 9003), Standing::Gone);
        }
    }
}
