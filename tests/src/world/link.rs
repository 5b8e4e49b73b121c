//! The way to a backend, and the entry of `BACKENDS` that says so.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lb_common::{
    address::Address,
    backend::{Backend, Mode, Standing, State, Tunnel},
    checksum::{self, Delta},
    next_hop::NextHop,
};

use crate::packet::UDP;

/// How a backend is reached.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// What is done to packets.
    pub mode: Mode,
    /// The longest packet that may go this way.
    pub mtu: u16,
    /// A tunnel's source, its low `spread` bits zero.
    pub source: IpAddr,
    /// How many of its low bits vary.
    pub spread: u8,
    /// The largest TCP segment that a SYN may announce; 0: any.
    pub mss: u16,
    /// Full NAT: the pool, as place in [`World::pools`](super::World::pools).
    pub pool: u16,
}

impl Link {
    /// Address translation, packets of any length.
    pub const NAT: Self = Self {
        mode: Mode::Nat,
        mtu: u16::MAX,
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        spread: 0,
        mss: 0,
        pool: 0,
    };

    /// Whether it is a tunnel.
    #[must_use]
    pub const fn is_tunnel(&self) -> bool {
        matches!(self.mode, Mode::Ipip | Mode::Gue)
    }

    /// The entry of `BACKENDS` for a backend that is reached like this. `index`: of a tunnel's path.
    #[must_use]
    pub fn entry(
        &self,
        vip: SocketAddr,
        address: SocketAddr,
        next_hop: NextHop,
        index: u16,
    ) -> Backend {
        let entry = match self.mode {
            Mode::Ipip | Mode::Gue => self.tunnel(vip.is_ipv6(), address, next_hop),
            Mode::Nat | Mode::FullNat | Mode::L2Dsr => backend(vip, address, next_hop),
        };
        Backend {
            mode: self.mode as u8,
            mtu: self.mtu,
            mss: self.mss,
            index: if self.is_tunnel() { index } else { self.pool },
            ..entry
        }
    }

    fn tunnel(&self, inner_v6: bool, address: SocketAddr, next_hop: NextHop) -> Backend {
        let (source, destination) = (Address::from(self.source), Address::from(address.ip()));
        let protocol = match self.mode {
            Mode::Gue => UDP,
            _ if inner_v6 => 41,
            _ => 4,
        };
        let fixed = [
            &[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0],
            &source.v4()[..],
            &destination.v4()[..],
        ];
        let addresses = [&source.0[..], &destination.0[..]].concat();
        let tunnel = Tunnel {
            destination,
            source,
            port: 6080u16.to_be_bytes(),
            v6: address.is_ipv6().into(),
            reserved: 0,
            header_sum: checksum::sum(&fixed.concat()),
            address_sum: checksum::sum(&addresses),
            next_hop,
            standing: Standing::new(State::Up, 0),
            weight: 1,
            mss: 0,
            mode: 0,
            spread: self.spread,
            mtu: 0,
            reserved2: 0,
            index: 0,
        };
        zerocopy::transmute!(tunnel)
    }
}

/// The entry of `BACKENDS` for a backend of a service.
#[must_use]
pub fn backend(vip: SocketAddr, address: SocketAddr, next_hop: NextHop) -> Backend {
    let (from, to) = (Address::from(vip.ip()), Address::from(address.ip()));
    let ports = (vip.port().to_be_bytes(), address.port().to_be_bytes());
    let ends = |address: &Address, port: [u8; 2]| [&address.0[..], &port[..]].concat();
    Backend {
        address: to,
        vip: from,
        port: ports.1,
        vip_port: ports.0,
        ip_delta: Delta::of(&from.0, &to.0).0,
        l4_delta: Delta::of(&ends(&from, ports.0), &ends(&to, ports.1)).0,
        next_hop,
        standing: Standing::new(State::Up, 0),
        weight: 1,
        mss: 0,
        mode: Mode::Nat as u8,
        flags: 0,
        mtu: u16::MAX,
        port_shift: address.port().wrapping_sub(vip.port()),
        index: 0,
    }
}
