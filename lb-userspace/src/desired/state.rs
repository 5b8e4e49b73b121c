//! What the maps must say, without a word of where in them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use lb_common::{interface::Interface, next_hop::NextHop};

use crate::{config::model::Vip, health::Health};

/// What the maps must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Services, each VIP once. Of those that share a backend, the first is whom its replies come
    /// from, unless another one was there before.
    pub services: Vec<Service>,
    /// [`VIP`](lb_common::directory::VIP) and [`LOCAL`](lb_common::directory::LOCAL) of addresses.
    pub addresses: BTreeMap<IpAddr, u64>,
    /// Interfaces by their index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The ways to clients.
    pub routes: Routes,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Address, port and protocol.
    pub vip: Vip,
    /// Slots of its table: a power of two.
    pub slots: u32,
    /// Its backends, each address once, live or not.
    pub backends: Vec<Backend>,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its weight; 0 takes no flows.
    pub weight: u16,
    /// What probes say.
    pub health: Health,
    /// Whether it takes flows.
    pub live: bool,
    /// The way there.
    pub next_hop: NextHop,
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

impl State {
    /// Whether a service of the family exists.
    #[must_use]
    pub fn serves(&self, v6: bool) -> bool {
        self.services
            .iter()
            .any(|service| service.vip.address.is_ipv6() == v6)
    }
}
