//! Random contents of the maps, sound ones and broken ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::{
    backend::Mode,
    next_hop::NextHop,
    route::{self, Action},
};
use lb_tests::{
    image::Image,
    kernel::INGRESS,
    packet::{OUR_MAC, TCP, UDP},
    random::Random,
    world::{Link, Service, World},
};

/// Ports of services and backends: few, so that some collide.
pub(crate) const PORTS: [u16; 5] = [53, 80, 443, 8080, 65535];

/// A VIP, a backend, a client or a bystander: the 96 bits in front of an address' last two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Net {
    Vips,
    Backends,
    Clients,
    Elsewhere,
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
    let services = services(random);
    let world = World {
        interfaces: interfaces(random),
        local: local(random, &services),
        services,
        routes: routes(random),
        hash_key: [random.bits(), random.bits()],
        ..World::default()
    };
    let mut image = world.image();
    if random.chance(25) {
        corrupt(random, &mut image);
    }
    (world, image)
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

fn services(random: &mut Random) -> Vec<Service> {
    let families = random.pick(&[&[false][..], &[true], &[false, true], &[false, true]]);
    (0..=random.below(12))
        .map(|_| {
            let v6 = random.pick(families);
            service(random, v6)
        })
        .collect()
}

fn service(random: &mut Random, v6: bool) -> Service {
    let address = Net::Vips.address(v6, random.below(4) as u16);
    let vip = SocketAddr::new(address, random.pick(&PORTS));
    let backends = if random.chance(4) {
        0
    } else {
        1 + random.below(6)
    };
    let backends = (0..backends)
        .map(|_| {
            let address = Net::Backends.address(v6 != random.chance(5), random.below(12) as u16);
            (
                SocketAddr::new(address, random.pick(&PORTS)),
                next_hop(random),
            )
        })
        .collect();
    let protocol = random.pick(&[TCP, UDP]);
    let service = Service::new(vip, protocol, backends, 4 + random.below(5) as u32);
    Service {
        owners: owners(random, &service),
        links: links(random, &service),
        ..service
    }
}

/// Mostly address translation for all; else a mode for each. Some ways are too short for some packets.
fn links(random: &mut Random, service: &Service) -> Vec<Link> {
    if random.chance(60) {
        return Vec::new();
    }
    let link = |address: &SocketAddr| Link {
        mode: random.pick(&[
            Mode::Nat,
            Mode::L2Dsr,
            Mode::Ipip,
            Mode::Ipip,
            Mode::Gue,
            Mode::Gue,
        ]),
        mtu: random.pick(&[u16::MAX, 1480, 120, 60]),
        source: Net::Elsewhere.address(address.is_ipv6(), 0),
        spread: random.below(17) as u8,
        ..Link::NAT
    };
    service
        .backends
        .iter()
        .map(|(address, _)| address)
        .map(link)
        .collect()
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
        if random.chance(5) {
            backend.mode = random.below(8) as u8;
        }
    }
    for route in image.routes.iter_mut().flatten() {
        if random.chance(5) {
            route.action = random.below(8) as u32;
        }
    }
}
