//! Services, backends and routes in a few words, made into an [`Image`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lb_common::{
    address::Address,
    backend::{Backend, Mode, State, Tunnel},
    checksum::{self, Delta},
    directory::{self, Filter, Key, Kind, Seed, Set, Table, Way},
    interface::Interface,
    maps::{Constants, Control},
    next_hop::NextHop,
    path::Path,
    route::{self, Action, Route, Routes},
    row::{ROWS_PER_ELEMENT, Row},
};
use zerocopy::FromZeros as _;

use crate::{image::Image, packet::UDP};

/// A small world.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Interfaces by index: MAC address and whether backends may be behind it.
    pub interfaces: Vec<(u32, [u8; 6], bool)>,
    /// Services.
    pub services: Vec<Service>,
    /// This host's addresses.
    pub local: Vec<IpAddr>,
    /// Prefix, its length, and what to do.
    pub routes: Vec<(IpAddr, u8, Action, NextHop)>,
    /// Key of the flow hash.
    pub hash_key: [u64; 2],
}

/// A service of a [`World`].
#[derive(Clone, Debug)]
pub struct Service {
    /// VIP address and port.
    pub vip: SocketAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Backends: address and port, and the way there.
    pub backends: Vec<(SocketAddr, NextHop)>,
    /// Logarithm of the number of slots.
    pub log2: u32,
    /// Owner of each slot, as place in `backends`; `None`: nobody.
    pub owners: Vec<Option<u16>>,
    /// How the backends are reached, in their order; those beyond by [`Link::NAT`].
    pub links: Vec<Link>,
}

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
}

impl Link {
    /// Address translation, packets of any length.
    pub const NAT: Self = Self {
        mode: Mode::Nat,
        mtu: u16::MAX,
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        spread: 0,
    };

    /// The entry of `BACKENDS` for a backend that is reached like this.
    #[must_use]
    pub fn entry(&self, vip: SocketAddr, address: SocketAddr, next_hop: NextHop) -> Backend {
        let entry = match self.mode {
            Mode::Ipip | Mode::Gue => self.tunnel(vip.is_ipv6(), address, next_hop),
            Mode::Nat | Mode::FullNat | Mode::L2Dsr => backend(vip, address, next_hop),
        };
        Backend {
            mode: self.mode as u8,
            mtu: self.mtu,
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
            state: State::Up as u32,
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

impl Service {
    /// A service whose backends own the slots in turn.
    #[must_use]
    pub fn new(
        vip: SocketAddr,
        protocol: u8,
        backends: Vec<(SocketAddr, NextHop)>,
        log2: u32,
    ) -> Self {
        let n = backends.len() as u16;
        let owners = (0..1u32 << log2)
            .map(|slot| (n > 0).then(|| (slot % u32::from(n.max(1))) as u16))
            .collect();
        Self {
            vip,
            protocol,
            backends,
            log2,
            owners,
            links: Vec::new(),
        }
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
        state: State::Up as u32,
        weight: 1,
        mss: 0,
        mode: Mode::Nat as u8,
        flags: 0,
        mtu: u16::MAX,
        port_shift: address.port().wrapping_sub(vip.port()),
        index: 0,
    }
}

impl World {
    /// The maps' contents.
    #[must_use]
    pub fn image(&self) -> Image {
        // One entry a set on average, of four that fit.
        let entries: usize = self
            .services
            .iter()
            .map(|service| 2 + service.backends.len())
            .sum();
        let sets = (entries + self.local.len()).next_power_of_two().max(64);
        let mut image = Image {
            constants: Constants {
                hash_key: self.hash_key,
                set_shift: 64 - sets.ilog2(),
                ipv6: self
                    .services
                    .iter()
                    .any(|service| service.vip.is_ipv6())
                    .into(),
                ipv4: self
                    .services
                    .iter()
                    .any(|service| service.vip.is_ipv4())
                    .into(),
                fib: 1,
                modes: self.modes(),
                features: 0,
                icmp_rate: 0,
                reserved: 0,
            },
            control: Control::default(),
            directory: vec![Set::new_zeroed(); 2 * sets],
            slots: Vec::new(),
            backends: Vec::new(),
            routes: vec![Routes::new_zeroed(); 4],
            interfaces: vec![Interface::default(); 64],
            ranges: Vec::new(),
            pools: Vec::new(),
            paths: vec![Path::UNKNOWN; 16],
            flows: 4096,
        };
        for (ifindex, mac, from_backends) in &self.interfaces {
            image.interfaces[*ifindex as usize] = Interface::new(*mac, 1500, *from_backends);
        }
        let mut entries = self.addresses();
        let filter = entries
            .iter()
            .fold(Filter::default(), |filter, (key, _)| filter.with(key));
        image.control.addresses = filter.0;
        for service in &self.services {
            service.install(&mut image, &mut entries);
        }
        self.install_routes(&mut image);
        install_directory(&mut image, &entries);
        image.control.front = self.front(&image);
        image
    }

    /// The modes of its backends.
    fn modes(&self) -> u32 {
        let links = self.services.iter().flat_map(Service::links);
        links.fold(0, |modes, link| modes | link.mode.bit())
    }

    /// The first service's place.
    fn front(&self, image: &Image) -> u64 {
        let Some(service) = self.services.first() else {
            return 0;
        };
        let tag = service.key().tag;
        let mut ways = image.directory.iter().flat_map(|set| set.ways);
        ways.position(|way| way.tag == tag).unwrap_or(0) as u64
    }

    fn addresses(&self) -> Vec<(Key, u64)> {
        let vips: std::collections::BTreeSet<IpAddr> =
            self.services.iter().map(|s| s.vip.ip()).collect();
        let all: std::collections::BTreeSet<IpAddr> =
            vips.iter().chain(&self.local).copied().collect();
        all.into_iter()
            .map(|address| {
                let vip = if vips.contains(&address) {
                    directory::VIP
                } else {
                    0
                };
                let local = if self.local.contains(&address) {
                    directory::LOCAL
                } else {
                    0
                };
                (Key::new(Kind::Address, address.into(), 0, 0), vip | local)
            })
            .collect()
    }

    fn install_routes(&self, image: &mut Image) {
        for v6 in [false, true] {
            let family = self
                .routes
                .iter()
                .filter(|(prefix, ..)| prefix.is_ipv6() == v6);
            for (i, (prefix, length, action, next_hop)) in family.enumerate() {
                let bits = if v6 { *length } else { *length + 96 };
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(bits))
                    .unwrap_or(0)
                    .to_be_bytes();
                image.routes[route::list(0, v6) as usize][i] = Route {
                    prefix: Address::from(*prefix),
                    mask: Address(mask),
                    action: *action as u32,
                    reserved: 0,
                    next_hop: *next_hop,
                };
            }
        }
    }
}

impl Service {
    fn key(&self) -> Key {
        let (ip, port) = (self.vip.ip(), self.vip.port());
        Key::new(Kind::Service, ip.into(), port, self.protocol)
    }

    /// How each backend is reached.
    fn links(&self) -> impl Iterator<Item = Link> {
        let rest = std::iter::repeat(Link::NAT);
        self.links
            .iter()
            .copied()
            .chain(rest)
            .take(self.backends.len())
    }

    fn install(&self, image: &mut Image, entries: &mut Vec<(Key, u64)>) {
        let extent = image.backends.len() as u32;
        let element = image.slots.len() as u32;
        image.backends.push(Backend::new_zeroed());
        for (pair, ((address, next_hop), link)) in
            (extent + 1..).zip(self.backends.iter().zip(self.links()))
        {
            image
                .backends
                .push(link.entry(self.vip, *address, *next_hop));
            if link.mode != Mode::Nat {
                continue;
            }
            let key = Key::new(
                Kind::Backend,
                address.ip().into(),
                address.port(),
                self.protocol,
            );
            entries.push((key, pair.into()));
        }
        for rows in self.owners.chunks(ROWS_PER_ELEMENT as usize) {
            image.slots.push(std::array::from_fn(|i| {
                rows.get(i)
                    .copied()
                    .flatten()
                    .map_or(Row::EMPTY, |owner| Row::stable(owner + 1))
                    .0
            }));
        }
        let key = self.key();
        entries.push((key, Way::service(Table::new(element, self.log2), extent)));
    }
}

/// Tries seeds until no set overflows; first come, first served for equal keys.
fn install_directory(image: &mut Image, entries: &[(Key, u64)]) {
    let seed = (0..1000).map(|n| Seed::new(n, 0)).find(|seed| {
        let mut sets = vec![Set::new_zeroed(); image.directory.len()];
        let fits = entries
            .iter()
            .all(|(key, value)| insert(&mut sets, *seed, image.constants.set_shift, key, *value));
        if fits {
            image.directory = sets;
        }
        fits
    });
    image.control.directory = seed.expect("a seed under which no set overflows").0;
}

fn insert(sets: &mut [Set], seed: Seed, set_shift: u32, key: &Key, value: u64) -> bool {
    let set = &mut sets[seed.set(key.tag, set_shift) as usize];
    if set.find(key, true).is_some() {
        return true;
    }
    let Some(way) = set.ways.iter_mut().find(|way| way.tag == 0) else {
        return false;
    };
    *way = Way {
        tag: key.tag,
        value,
        rest: key.rest,
        reserved: 0,
    };
    true
}
