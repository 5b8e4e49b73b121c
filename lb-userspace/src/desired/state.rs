//! What the maps must say, without a word of where in them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use lb_common::{backend::Mode, interface::Interface, next_hop::NextHop};

use super::specialisation::Specialisation;
use crate::{
    config::model::{PortRange, Vip},
    health::Health,
    slot_table::Part,
};

/// What the maps must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Services, each VIP once. Of those that share a backend, the first is whom its replies come
    /// from, unless another one was there before.
    pub services: Vec<Service>,
    /// [`VIP`](lb_common::directory::VIP), [`LOCAL`](lb_common::directory::LOCAL) and
    /// [`POOL`](lb_common::directory::POOL) of addresses.
    pub addresses: BTreeMap<IpAddr, u64>,
    /// Pools of full NAT, each once.
    pub pools: Vec<Pool>,
    /// Interfaces by their index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The ways to clients.
    pub routes: Routes,
    /// Entries of `FLOWS`, where flows have to be remembered.
    pub flows: u32,
    /// Whether rows that change keep their flows where they are: what the kernel must be able to.
    pub tracks: bool,
    /// Where a backend listens that is gone and whose flows are cut.
    pub cut: Option<SocketAddr>,
    /// What the program must be able to do.
    pub specialisation: Specialisation,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Address, port and protocol.
    pub vip: Vip,
    /// Slots of its table: a power of two.
    pub slots: u32,
    /// The largest TCP segment that a SYN may announce; 0: any.
    pub mss: u16,
    /// How long its flows keep rows moving.
    pub patience: Patience,
    /// Its backends, each address once, live or not.
    pub backends: Vec<Backend>,
}

/// What flows are to a service, and how long they keep rows moving, in seconds.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own in the data path"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A flow that was silent for so long is over.
    pub idle: u16,
    /// A row that changed so long ago comes to rest, whatever flows it has; 0: never.
    pub deadline: u16,
    /// Clients of a backend that died are told: the service is one over TCP.
    pub resets: bool,
    /// No packet says that it opens a flow.
    pub learns: bool,
    /// Backends hand over packets of connections that they do not know.
    pub hands_over: bool,
    /// Clients whose packets no backend takes are told.
    pub refuses: bool,
    /// Bits of a client's address that its backend is chosen by, and nothing else; 0: by the flow.
    pub affinity: u8,
}

/// A backend of a service.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing of its own, and most of them go together"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// What is done to packets for it.
    pub forwarding: Forwarding,
    /// Whether other services have it, too, so that its replies do not tell whose they are.
    pub shared: bool,
    /// Its weight; 0 takes no flows.
    pub weight: u16,
    /// What probes say.
    pub health: Health,
    /// Whether it takes flows.
    pub live: bool,
    /// How much of its slots it takes then.
    pub part: Part,
    /// Whether the flows that it has stay with it.
    pub keeps: bool,
    /// Whether it is on its way out: no member of the slot table any more.
    pub leaving: bool,
    /// The way there.
    pub next_hop: NextHop,
    /// Bytes of the longest IP packet that may go this way, before it is encapsulated.
    pub mtu: u16,
}

impl Backend {
    /// Whether it gets new flows.
    #[must_use]
    pub fn takes(&self) -> bool {
        self.live && self.part > Part::NONE
    }

    /// Whether its first probe is to come, so that it may take flows any moment.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.health == Health::Unknown && self.keeps && self.weight > 0
    }
}

/// What is done to packets for a backend. It never changes while flows go there: another one is another
/// entry of `BACKENDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forwarding {
    /// The destination is rewritten.
    Nat,
    /// The source, too: by a pool, which goes by its place in [`State::pools`], or in `POOLS`.
    FullNat(u16),
    /// Only the MAC addresses are.
    L2Dsr,
    /// They travel in IP packets.
    Ipip(TunnelSource),
    /// They travel in UDP, to this port.
    Gue(TunnelSource, u16),
}

/// What flows of full NAT get as their source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pool {
    /// Addresses of one family, at most [`ADDRESSES`](lb_common::pool::ADDRESSES).
    pub addresses: Vec<IpAddr>,
    /// Ports of each.
    pub ports: PortRange,
}

/// Where a tunnel's outer headers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelSource {
    /// The address, its low `spread` bits zero.
    pub address: IpAddr,
    /// Low bits that vary with the flow.
    pub spread: u8,
}

impl Pool {
    /// Places: an address and a port each.
    #[must_use]
    pub fn places(&self) -> u32 {
        let ports = u32::from(self.ports.last) - u32::from(self.ports.first) + 1;
        let addresses = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        addresses.saturating_mul(ports)
    }
}

impl Forwarding {
    /// The mode.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::Nat => Mode::Nat,
            Self::FullNat(_) => Mode::FullNat,
            Self::L2Dsr => Mode::L2Dsr,
            Self::Ipip(_) => Mode::Ipip,
            Self::Gue(..) => Mode::Gue,
        }
    }
}

/// The ways to clients, per family; longest prefix first; at most
/// [`LEN`](lb_common::route::LEN) each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// IPv4.
    pub v4: Vec<Route>,
    /// IPv6.
    pub v6: Vec<Route>,
}

/// One prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub prefix: IpNet,
    /// What to do with packets for it.
    pub action: Action,
}

/// What to do with packets for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave them to the kernel as they are.
    Direct,
    /// Ask the kernel's FIB.
    Fib,
    /// Send them this way.
    NextHop(NextHop),
}

/// What tests take where it does not matter.
#[cfg(test)]
pub(super) mod examples {
    use super::*;
    use crate::config::model::Config;

    /// Quarter of an hour, and an hour.
    pub(in crate::desired) const PATIENCE: Patience = Patience {
        idle: 900,
        deadline: 3600,
        resets: false,
        learns: false,
        hands_over: false,
        refuses: false,
        affinity: 0,
    };

    /// The first service of a configuration, of whose backends this is known.
    pub(in crate::desired) fn probed<const N: usize>(
        config: &Config,
        health: [Health; N],
    ) -> State {
        let model = &config.services[0];
        let backends = model.backends.iter().zip(health);
        let backends = backends.map(|(it, health)| Backend {
            health,
            live: health == Health::Up,
            keeps: health != Health::Down,
            ..backend(it.address)
        });
        let service = Service {
            vip: model.vip,
            slots: 4096,
            mss: 0,
            patience: PATIENCE,
            backends: backends.collect(),
        };
        State {
            services: vec![service],
            ..State::default()
        }
    }

    /// It is up, and its neighbour known.
    pub(in crate::desired) fn backend(address: SocketAddr) -> Backend {
        Backend {
            address,
            forwarding: Forwarding::Nat,
            shared: false,
            weight: 1,
            health: Health::Up,
            live: true,
            part: Part::WHOLE,
            keeps: true,
            leaving: false,
            next_hop: NextHop::new([2; 6], 3, true),
            mtu: 1500,
        }
    }
}
