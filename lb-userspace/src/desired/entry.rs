//! A backend between what it means and how it stands in `BACKENDS`.

use std::net::SocketAddr;

use lb_common::{
    address::Address,
    backend::{self, Mode, Standing, State, Tunnel},
    checksum::{self, Delta},
    next_hop::NextHop,
};
use zerocopy::FromZeros as _;

use super::{
    health_of, health_word,
    state::{Backend, Forwarding, TunnelSource},
};
use crate::config::model::Vip;

/// A backend as the maps have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it listens.
    pub address: SocketAddr,
    /// What is done to packets for it.
    pub forwarding: Forwarding,
    /// Whether other services have it, too.
    pub shared: bool,
    /// Its weight.
    pub weight: u16,
    /// The largest TCP segment that a SYN may announce; 0: any.
    pub mss: u16,
    /// What probes say.
    pub state: State,
    /// Its flows that were seen last until this second are not its own any more.
    pub since: u32,
    /// The way there.
    pub next_hop: NextHop,
    /// Bytes of the longest IP packet that may go there.
    pub mtu: u16,
    /// A tunnel's index in `PATHS`, else 0.
    pub(super) path: u16,
}

/// What no store changes: another one is another entry.
pub(super) type Identity = (SocketAddr, Forwarding);

/// What is IP in IP, by the IP version of what is inside (RFC 2003, §3.1; RFC 4213, §3.5).
const IPV4_INSIDE: u8 = 4;
const IPV6_INSIDE: u8 = 41;
const UDP: u8 = 17;

impl Entry {
    /// What the maps must say of a backend whose entry is made now.
    pub(super) const fn new(backend: &Backend, mss: u16, path: u16, now: u32) -> Self {
        let Backend {
            address,
            forwarding,
            shared,
            weight,
            health,
            live: _,
            part: _,
            keeps: _,
            leaving: _,
            next_hop,
            mtu,
        } = *backend;
        Self {
            address,
            forwarding,
            shared,
            weight,
            mss,
            state: health_word(health),
            since: now.saturating_sub(1),
            next_hop,
            mtu,
            path,
        }
    }

    /// What no store changes.
    pub(super) const fn identity(&self) -> Identity {
        (self.address, self.forwarding)
    }

    /// Of several entries of an address, the highest is the one that new flows go to.
    pub(super) fn precedence(&self) -> impl Ord + use<> {
        (self.state == State::Up, self.weight)
    }

    /// What an entry of the maps means; `None` where it holds no backend.
    ///
    /// # Errors
    /// The number of a mode that there is not.
    pub(super) fn read(entry: &backend::Backend, vip: Vip) -> Result<Option<Self>, u8> {
        let state = entry.standing.state();
        let Some(state) = state.ok().filter(|state| health_of(*state).is_some()) else {
            return Ok(None);
        };
        let (address, forwarding) = identity(entry, vip)?;
        Ok(Some(Self {
            address,
            forwarding,
            shared: forwarding == Forwarding::Nat && entry.flags & backend::Backend::SHARED != 0,
            weight: entry.weight,
            mss: entry.mss,
            state,
            since: entry.standing.since(),
            next_hop: entry.next_hop,
            mtu: entry.mtu,
            path: match forwarding {
                Forwarding::Ipip(_) | Forwarding::Gue(..) => entry.index,
                Forwarding::Nat | Forwarding::FullNat(_) | Forwarding::L2Dsr => 0,
            },
        }))
    }

    /// The entry's bytes: everything that the data path needs to forward a packet.
    pub(super) fn to_backend(self, vip: Vip) -> backend::Backend {
        let fixed = match self.forwarding {
            Forwarding::Nat | Forwarding::L2Dsr => self.rewritten(vip),
            Forwarding::FullNat(pool) => backend::Backend {
                index: pool,
                ..self.rewritten(vip)
            },
            Forwarding::Ipip(source) if vip.address.is_ipv4() => self.tunnel(source, IPV4_INSIDE),
            Forwarding::Ipip(source) => self.tunnel(source, IPV6_INSIDE),
            Forwarding::Gue(source, port) => self.gue(source, port),
        };
        backend::Backend {
            next_hop: self.next_hop,
            standing: self.standing(),
            weight: self.weight,
            mss: self.mss,
            mode: self.forwarding.mode() as u8,
            mtu: self.mtu,
            ..fixed
        }
    }

    /// State and age, as one word.
    pub(super) const fn standing(self) -> Standing {
        Standing::new(self.state, self.since)
    }

    fn rewritten(self, vip: Vip) -> backend::Backend {
        let mut backend = backend::Backend::new_zeroed();
        backend.address = self.address.ip().into();
        backend.vip = vip.address.into();
        backend.port = self.address.port().to_be_bytes();
        backend.vip_port = vip.ports.first().to_be_bytes();
        backend.ip_delta = Delta::of(&backend.vip.0, &backend.address.0).0;
        let from = [backend.vip.0.as_slice(), &backend.vip_port].concat();
        let to = [backend.address.0.as_slice(), &backend.port].concat();
        backend.l4_delta = Delta::of(&from, &to).0;
        backend.port_shift = self.address.port().wrapping_sub(vip.ports.first());
        if self.shared {
            backend.flags = backend::Backend::SHARED;
        }
        backend
    }

    fn gue(self, source: TunnelSource, port: u16) -> backend::Backend {
        let tunnel: Tunnel = zerocopy::transmute!(self.tunnel(source, UDP));
        let port = port.to_be_bytes();
        zerocopy::transmute!(Tunnel { port, ..tunnel })
    }

    /// With an outer header that announces `protocol`.
    fn tunnel(self, source: TunnelSource, protocol: u8) -> backend::Backend {
        let mut tunnel = Tunnel::new_zeroed();
        tunnel.destination = self.address.ip().into();
        tunnel.source = source.address.into();
        tunnel.spread = source.spread;
        tunnel.v6 = self.address.is_ipv6().into();
        tunnel.header_sum = header_sum(tunnel.source, tunnel.destination, protocol);
        let addresses = [tunnel.source.0, tunnel.destination.0].concat();
        tunnel.address_sum = checksum::sum(&addresses);
        tunnel.index = self.path;
        zerocopy::transmute!(tunnel)
    }
}

fn header_sum(source: Address, destination: Address, protocol: u8) -> u16 {
    const DONT_FRAGMENT: u8 = 0x40;
    const TTL: u8 = 64;
    let words = [0x45, 0, 0, 0, 0, 0, DONT_FRAGMENT, 0, TTL, protocol, 0, 0];
    checksum::sum(&[words.as_slice(), &source.v4(), &destination.v4()].concat())
}

fn identity(entry: &backend::Backend, vip: Vip) -> Result<Identity, u8> {
    const NAT: u8 = Mode::Nat as u8;
    const FULL_NAT: u8 = Mode::FullNat as u8;
    const L2_DSR: u8 = Mode::L2Dsr as u8;
    const IPIP: u8 = Mode::Ipip as u8;
    const GUE: u8 = Mode::Gue as u8;
    let tunnel: &Tunnel = zerocopy::transmute_ref!(entry);
    let source = TunnelSource {
        address: tunnel.source.into(),
        spread: tunnel.spread,
    };
    let forwarding = match entry.mode {
        NAT => Forwarding::Nat,
        FULL_NAT => Forwarding::FullNat(entry.index),
        L2_DSR => Forwarding::L2Dsr,
        IPIP => Forwarding::Ipip(source),
        GUE => Forwarding::Gue(source, u16::from_be_bytes(tunnel.port)),
        other => return Err(other),
    };
    let (ip, port) = match forwarding {
        Forwarding::Nat | Forwarding::FullNat(_) | Forwarding::L2Dsr => {
            (entry.address, u16::from_be_bytes(entry.port))
        }
        // The packet inside keeps its port.
        Forwarding::Ipip(_) | Forwarding::Gue(..) => (tunnel.destination, vip.ports.first()),
    };
    Ok((SocketAddr::new(ip.into(), port), forwarding))
}
