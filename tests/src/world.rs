//! Services, backends and routes in a few words, made into an [`Image`].

mod directory;
mod install;
mod link;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    address::Address,
    backend::Header,
    interface::Interface,
    maps::{Constants, Control, Feature},
    next_hop::NextHop,
    pool::{self, Pool},
    probe_link::ProbeLink,
    route::{self, Action, Route, Routes},
    row::ROWS_PER_ELEMENT,
    tracked::ENTRIES,
};
use zerocopy::FromZeros as _;

pub use self::link::{Link, backend};
use self::{directory::Contents, install::Installation};
use crate::{image::Image, packet::UDP};

/// A small world.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Interfaces by index: MAC address and whether backends may be behind it.
    pub interfaces: Vec<(u32, [u8; 6], bool)>,
    /// MTUs of interfaces by index, where it is not 1,500 bytes.
    pub mtus: Vec<(u32, u16)>,
    /// Services.
    pub services: Vec<Service>,
    /// Source addresses and ports of full NAT.
    pub pools: Vec<Pool>,
    /// Flows that can be remembered; 0: 4,096.
    pub flows: u32,
    /// Buckets of tracked flows, a power of two; 0: one.
    pub buckets: u32,
    /// This host's addresses.
    pub local: Vec<IpAddr>,
    /// Prefix, its length, and what to do.
    pub routes: Vec<(IpAddr, u8, Action, NextHop)>,
    /// Key of the flow hash.
    pub hash_key: [u64; 2],
    /// [`Feature`]s besides those that the services make use of.
    pub features: u32,
    /// ICMP errors that each CPU may make in a second.
    pub icmp_rate: u32,
    /// Where probes of the path come in, if they do.
    pub probe_link: Option<ProbeLink>,
    /// Seconds since the system started.
    pub clock: u32,
}

/// How a slot moves.
#[derive(Clone, Copy, Debug)]
pub struct Moving {
    /// Who had it, as place in `backends`; `None`: nobody whose flows go on.
    pub old: Option<u16>,
    /// Whether all flows that it had are tracked.
    pub learned: bool,
}

/// A service of a [`World`].
#[derive(Clone, Debug)]
pub struct Service {
    /// VIP address and port, the first one of several; 0: all ports.
    pub vip: SocketAddr,
    /// The last port: that of `vip` where there is only one.
    pub last_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Backends: address and port (the first one of several), and the way there.
    pub backends: Vec<(SocketAddr, NextHop)>,
    /// Logarithm of the number of slots.
    pub log2: u32,
    /// Owner of each slot, as place in `backends`; `None`: nobody.
    pub owners: Vec<Option<u16>>,
    /// Slots that move, and who had them before, in the same way.
    pub moving: BTreeMap<u32, Moving>,
    /// Seconds that its flows may be silent.
    pub idle: u16,
    /// [`Header::RESETS`](lb_common::backend::Header::RESETS) and its like.
    pub flags: u8,
    /// Bits of a client's address that its backend is chosen by, and nothing else; 0: by the flow.
    pub affinity: u8,
    /// How the backends are reached, in their order; those beyond by [`Link::NAT`].
    pub links: Vec<Link>,
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
            last_port: vip.port(),
            protocol,
            backends,
            log2,
            owners,
            moving: BTreeMap::new(),
            idle: 900,
            flags: u8::from(protocol == UDP) * Header::LEARNS,
            affinity: 0,
            links: Vec::new(),
        }
    }

    /// The same on all ports from that of the VIP to this one.
    #[must_use]
    pub fn up_to(self, last_port: u16) -> Self {
        Self { last_port, ..self }
    }

    /// How each backend is reached.
    pub fn links(&self) -> impl Iterator<Item = Link> {
        let rest = std::iter::repeat(Link::NAT);
        self.links
            .iter()
            .copied()
            .chain(rest)
            .take(self.backends.len())
    }

    /// Whether it has one port.
    const fn is_single(&self) -> bool {
        self.last_port == self.vip.port()
    }

    /// A backend's last port, where its first one is this.
    const fn last_port_of(&self, first: u16) -> u16 {
        first.wrapping_add(self.last_port.wrapping_sub(self.vip.port()))
    }
}

/// A pool of full NAT.
#[must_use]
pub fn pool(addresses: &[IpAddr], first: u16, ports: u16) -> Pool {
    let mut pool = Pool {
        addresses: [Address::default(); pool::ADDRESSES],
        count: addresses.len() as u32,
        first,
        ports,
    };
    for (place, address) in pool.addresses.iter_mut().zip(addresses) {
        *place = Address::from(*address);
    }
    pool
}

impl World {
    /// The maps' contents.
    #[must_use]
    pub fn image(&self) -> Image {
        let mut contents = Contents::default();
        self.add_addresses(&mut contents);
        let filter = contents.filter();
        let Installation {
            backends,
            slots,
            paths,
        } = Installation::of(&self.services, &mut contents);
        let (entries, ranges) = contents.finish();
        let sets = directory::sets(&entries);
        let rows = slots.len();
        let mut image = Image {
            constants: self.constants(sets),
            control: Control {
                addresses: filter,
                clock: self.clock.into(),
                ..Control::default()
            },
            directory: Vec::new(),
            slots,
            backends,
            routes: self.routes(),
            interfaces: self.interfaces(),
            ranges,
            pools: self.pools.clone(),
            paths,
            flows: if self.flows == 0 { 4096 } else { self.flows },
            times: vec![[0; ROWS_PER_ELEMENT as usize]; rows],
            tracked: vec![[0; ENTRIES]; self.buckets.max(1) as usize],
            origins: vec![[0; ENTRIES]; self.buckets.max(1) as usize],
        };
        directory::fill(&mut image, sets, &entries);
        image.control.front = self.front(&image);
        image
    }

    /// Where traffic of a backend of a service is counted, both by their places.
    #[must_use]
    pub fn pair(&self, service: usize, backend: usize) -> u32 {
        let before: usize = self.services[..service]
            .iter()
            .map(|service| 1 + service.backends.len())
            .sum();
        (before + 1 + backend) as u32
    }

    /// Where what a service drops is counted.
    #[must_use]
    pub fn header(&self, service: usize) -> u32 {
        self.pair(service, 0) - 1
    }

    fn constants(&self, sets: usize) -> Constants {
        let has = |v6| {
            let mut services = self.services.iter();
            u16::from(services.any(|service| service.vip.is_ipv6() == v6))
        };
        Constants {
            hash_key: self.hash_key,
            set_shift: 64 - sets.ilog2(),
            ipv6: has(true),
            probe_link: self.probe_link.map_or(0, |link| link.ifindex as u16),
            ipv4: has(false),
            probe_port: self.probe_link.map_or(0, |link| link.first_port),
            fib: 1,
            modes: self.modes(),
            features: self.features | self.used(),
            icmp_rate: self.icmp_rate,
            bucket_mask: self.buckets.max(1) - 1,
        }
    }

    fn all_links(&self) -> impl Iterator<Item = Link> {
        self.services.iter().flat_map(Service::links)
    }

    /// The modes of its backends.
    fn modes(&self) -> u32 {
        self.all_links()
            .fold(0, |modes, link| modes | link.mode.bit())
    }

    /// Features that its services make use of.
    fn used(&self) -> u32 {
        let ranges = !self.services.iter().all(Service::is_single);
        let clamps = self.all_links().any(|link| link.mss != 0);
        let shares = install::shares(&self.services);
        let moves = self
            .services
            .iter()
            .any(|service| !service.moving.is_empty());
        let sticks = self.services.iter().any(|service| service.affinity != 0);
        let flagged = |flag| self.services.iter().any(|it| it.flags & flag != 0);
        let hands_over = flagged(Header::HANDS_OVER);
        let refuses = flagged(Header::REFUSES);
        [
            (ranges, Feature::Ranges),
            (clamps, Feature::Mss),
            (shares, Feature::Shared),
            (moves, Feature::Tracking),
            (sticks, Feature::Affinity),
            (hands_over, Feature::SecondChance),
            (refuses, Feature::Refusal),
        ]
        .into_iter()
        .filter(|(used, _)| *used)
        .fold(0, |features, (_, feature)| features | feature as u32)
    }

    fn interfaces(&self) -> Vec<Interface> {
        let mut interfaces = vec![Interface::default(); 64];
        for (ifindex, mac, from_backends) in &self.interfaces {
            let mut mtus = self.mtus.iter().filter(|(index, _)| index == ifindex);
            let mtu = mtus.next().map_or(1500, |(_, mtu)| *mtu);
            interfaces[*ifindex as usize] = Interface::new(*mac, mtu, *from_backends);
        }
        interfaces
    }

    fn routes(&self) -> Vec<Routes> {
        let mut routes = vec![Routes::new_zeroed(); 4];
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
                routes[route::list(0, v6) as usize][i] = Route {
                    prefix: Address::from(*prefix),
                    mask: Address(mask),
                    action: *action as u32,
                    reserved: 0,
                    next_hop: *next_hop,
                };
            }
        }
        routes
    }
}
