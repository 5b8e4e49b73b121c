//! Random contents of the maps, sound ones and broken ones.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::{
    backend::{Mode, Standing},
    maps::Feature,
    next_hop::NextHop,
    pool::{self, Pool},
    probe_link::ProbeLink,
    route::{self, Action},
};
use lb_tests::{
    image::Image,
    kernel::INGRESS,
    packet::{OUR_MAC, TCP, UDP},
    random::Random,
    world::{Link, Moving, Service, World, pool},
};
use lb_userspace::dataplane::tracks_flows;

/// Ports of services and backends: few, so that some collide.
pub(crate) const PORTS: [u16; 5] = [53, 80, 443, 8080, 65535];

/// A VIP, a backend, a client or a bystander: the 96 bits in front of an address' last two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Net {
    Vips,
    Backends,
    Clients,
    Elsewhere,
    Pools,
}

impl Net {
    /// Address `host` of this network.
    pub(crate) fn address(self, v6: bool, host: u16) -> IpAddr {
        let [a, b] = host.to_be_bytes();
        let net = self as u16;
        if v6 {
            Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host).into()
        } else {
            Ipv4Addr::new(10, net as u8, a, b).into()
        }
    }
}

/// The world that a seed makes, and its maps.
pub(crate) fn world(random: &mut Random) -> (World, Image) {
    let pools = pools(random);
    let services = services(random, &pools);
    let world = World {
        interfaces: interfaces(random),
        mtus: [1, 2, 3]
            .map(|ifindex| (ifindex, random.pick(&[1500, 1500, 1280, 100])))
            .to_vec(),
        local: local(random, &services),
        services,
        pools,
        flows: random.pick(&[4096, 4096, 64, 5]),
        routes: routes(random),
        hash_key: [random.bits(), random.bits()],
        features: random.pick(&[0, Feature::Echo as u32])
            | random.pick(&[0, Feature::Signals as u32]),
        buckets: random.pick(&[1, 4, 64]),
        // As many as are asked for, or none: what depends on time is not to be compared.
        icmp_rate: random.pick(&[0, 1_000_000, 1_000_000]),
        probe_link: random.chance(25).then(|| ProbeLink {
            ifindex: random.pick(&[1, 2, 3]),
            first_port: random.pick(&[1, 1024, 40_000, 65_500]),
        }),
        clock: random.bits() as u32,
    };
    let mut image = world.image();
    specialise(random, &mut image, tracks_flows());
    if random.chance(25) {
        corrupt(random, &mut image);
    }
    (world, image)
}

/// Programs for other configurations than this one: features that are not used, or not there.
const fn specialise(random: &mut Random, image: &mut Image, tracks: bool) {
    if random.chance(15) {
        // Of those that all kernels have, and of others that this one has.
        let mask = if tracks { 31 } else { 15 } | Feature::Refusal as u32 | Feature::Signals as u32;
        image.constants.features = random.bits() as u32 & mask;
    }
    if random.chance(15) {
        image.constants.modes |= random.below(32) as u32;
    }
}

/// Pools of both families, of many places and of few, overlapping ones.
fn pools(random: &mut Random) -> Vec<Pool> {
    (0..4)
        .map(|n| {
            let v6 = n % 2 == 1;
            let addresses: Vec<IpAddr> = (0..=random.below(3))
                .map(|host| Net::Pools.address(v6, host as u16))
                .collect();
            let ports = random.pick(&[1, 4, 33, 1000]);
            pool(&addresses, random.pick(&[30_000, 65_535]), ports)
        })
        .collect()
}

fn interfaces(random: &mut Random) -> Vec<(u32, [u8; 6], bool)> {
    let others = (2, [2, 0, 0, 0, 2, 2], true);
    let from_backends = random.chance(94);
    let ours = (INGRESS, OUR_MAC, from_backends);
    if random.chance(1) {
        vec![others]
    } else {
        vec![ours, others]
    }
}

fn services(random: &mut Random, pools: &[Pool]) -> Vec<Service> {
    let crowded = random.chance(30);
    let families = random.pick(&[&[false][..], &[true], &[false, true], &[false, true]]);
    (0..=random.below(12))
        .map(|_| {
            let v6 = random.pick(families);
            service(random, v6, crowded, pools)
        })
        .collect()
}

/// `crowded`: services have the same few backends.
fn service(random: &mut Random, v6: bool, crowded: bool, pools: &[Pool]) -> Service {
    let address = Net::Vips.address(v6, random.below(4) as u16);
    let (first, last) = ports(random);
    let vip = SocketAddr::new(address, first);
    let backends = if random.chance(4) {
        0
    } else {
        1 + random.below(6)
    };
    let backends = (0..backends)
        .map(|_| {
            let hosts = if crowded { 2 } else { 12 };
            let host = random.below(hosts) as u16;
            let address = Net::Backends.address(v6 != random.chance(5), host);
            let port = match (first, last) {
                (0, u16::MAX) => 0,
                _ if crowded => 8080,
                _ => random.pick(&PORTS),
            };
            (SocketAddr::new(address, port), next_hop(random))
        })
        .collect();
    let protocol = random.pick(&[TCP, UDP]);
    let service = Service::new(vip, protocol, backends, 4 + random.below(5) as u32).up_to(last);
    Service {
        owners: owners(random, &service),
        moving: moving(random, &service),
        idle: random.pick(&[60, 900]),
        flags: random.below(16) as u8,
        affinity: random.pick(&[0, 0, 0, 1, 24, 32, 64, 128]),
        links: links(random, &service, pools),
        ..service
    }
}

/// Mostly one; else some, or all.
fn ports(random: &mut Random) -> (u16, u16) {
    let first = random.pick(&PORTS);
    match random.below(10) {
        0 => (0, u16::MAX),
        1 | 2 => (first, first.saturating_add(random.below(400) as u16)),
        _ => (first, first),
    }
}

/// Mostly address translation for all; else a mode for each. Some ways are too short for some packets.
fn links(random: &mut Random, service: &Service, pools: &[Pool]) -> Vec<Link> {
    if random.chance(40) {
        return Vec::new();
    }
    let only = random.chance(40).then(|| random.pick(&Mode::ALL));
    let link = |(address, _): &(SocketAddr, _)| Link {
        mode: only.unwrap_or_else(|| random.pick(&Mode::ALL)),
        mtu: random.pick(&[u16::MAX, u16::MAX, 1480, 1300, 120, 60]),
        source: Net::Elsewhere.address(address.is_ipv6(), 0),
        spread: random.below(17) as u8,
        mss: random.pick(&[0, 0, 1200, 536]),
        pool: pool_of(random, address.is_ipv6(), pools),
    };
    service.backends.iter().map(link).collect()
}

/// Mostly one of the family.
const fn pool_of(random: &mut Random, v6: bool, pools: &[Pool]) -> u16 {
    if random.chance(2) {
        return random.below(2 * pools.len()) as u16;
    }
    (2 * random.below(pools.len() / 2)) as u16 + v6 as u16
}

/// Mostly one behind our interfaces or a third; sometimes none, sometimes random bits.
const fn next_hop(random: &mut Random) -> NextHop {
    let mac = [2, 0, 0, 0, 1, random.below(8) as u8];
    match random.below(40) {
        0 => NextHop::UNRESOLVED,
        1 => NextHop(random.bits()),
        _ => NextHop::new(mac, 1 + random.below(3) as u32, random.chance(70)),
    }
}

/// In turn, at random with holes, nobody, or backends that are not the service's.
fn owners(random: &mut Random, service: &Service) -> Vec<Option<u16>> {
    let (slots, backends) = (service.owners.len(), service.backends.len());
    let holes = |random: &mut Random| {
        let owner = (backends > 0).then(|| random.below(backends) as u16);
        owner.filter(|_| random.chance(90))
    };
    match random.below(30) {
        0 => vec![None; slots],
        1 => (0..slots)
            .map(|_| Some(random.below(0x7ffe) as u16))
            .collect(),
        2..8 => (0..slots).map(|_| holes(random)).collect(),
        _ => service.owners.clone(),
    }
}

/// Mostly none; else about half of the slots, which were others' before.
fn moving(random: &mut Random, service: &Service) -> BTreeMap<u32, Moving> {
    if random.chance(60) || !tracks_flows() {
        return BTreeMap::new();
    }
    let slots = (0..service.owners.len() as u32).filter(|_| random.chance(50));
    let slots: Vec<u32> = slots.collect();
    let backends = service.backends.len();
    let moving = slots.into_iter().map(|slot| {
        let old = (backends > 0).then(|| random.below(backends) as u16);
        let moving = Moving {
            old: old.filter(|_| random.chance(90)),
            learned: random.chance(30),
        };
        (slot, moving)
    });
    moving.collect()
}

/// This host's addresses: some of its own, and sometimes a VIP or a backend's.
fn local(random: &mut Random, services: &[Service]) -> Vec<IpAddr> {
    let mut local: Vec<IpAddr> = [false, true]
        .map(|v6| Net::Backends.address(v6, 1))
        .to_vec();
    for service in services {
        if random.chance(15) {
            local.push(service.vip.ip());
        }
        if let Some((address, ..)) = service.backends.first().filter(|_| random.chance(5)) {
            local.push(address.ip());
        }
    }
    local
}

/// Prefixes of each family, nested, longest first; some lists have no default, some an early end.
fn routes(random: &mut Random) -> Vec<(IpAddr, u8, Action, NextHop)> {
    let mut routes = Vec::new();
    for v6 in [false, true] {
        let full = if v6 { 128 } else { 32 };
        let mut family: Vec<_> = (0..random.below(route::LEN as usize))
            .map(|_| {
                let length =
                    random.pick(&[full, full - 8, full - 12, full - 16, full - 24, full - 30]);
                let net = random.pick(&[Net::Clients, Net::Backends, Net::Elsewhere]);
                let address = net.address(v6, random.below(0x1000) as u16);
                (
                    masked(address, length),
                    length,
                    action(random),
                    next_hop(random),
                )
            })
            .collect();
        family.sort_by_key(|(_, length, ..)| std::cmp::Reverse(*length));
        if random.chance(90) {
            let everything = if v6 {
                Ipv6Addr::UNSPECIFIED.into()
            } else {
                Ipv4Addr::UNSPECIFIED.into()
            };
            family.push((everything, 0, Action::NextHop, next_hop(random)));
        }
        routes.extend(family);
    }
    routes
}

const fn action(random: &mut Random) -> Action {
    match random.below(30) {
        0 => Action::End,
        1 => Action::Direct,
        2 => Action::Fib,
        _ => Action::NextHop,
    }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// Indices that lead outside of maps, actions that nobody knows, slots of random bits.
fn corrupt(random: &mut Random, image: &mut Image) {
    for way in image.directory.iter_mut().flat_map(|set| &mut set.ways) {
        if way.tag != 0 && random.chance(10) {
            way.value ^= 1 << random.below(64);
        }
    }
    for row in image.slots.iter_mut().flatten() {
        if random.chance(5) {
            *row = random.bits() as u32;
        }
    }
    for backend in &mut image.backends {
        if random.chance(15) {
            backend.mode = random.below(8) as u8;
        }
        if random.chance(5) {
            backend.standing = Standing(random.bits() as u32);
        }
        if random.chance(5) {
            backend.flags = random.bits() as u8;
        }
        if random.chance(3) {
            backend.index = random.bits() as u16;
        }
    }
    for range in image.ranges.iter_mut().flatten() {
        if range.value != 0 && random.chance(5) {
            range.value ^= 1 << random.below(64);
        }
    }
    for pool in &mut image.pools {
        if random.chance(5) {
            pool.count = random.below(pool::ADDRESSES + 3) as u32;
        }
    }
    for route in image.routes.iter_mut().flatten() {
        if random.chance(5) {
            route.action = random.below(8) as u32;
        }
    }
}
