//! Worlds with services of every mode.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
};

use lb_common::{
    backend::{Header, Mode},
    maps::Feature,
    next_hop::NextHop,
    route::Action,
};
use lb_tests::{
    image::Image,
    packet::{OUR_MAC, TCP, UDP},
    world::{Link, Moving, Service, World, pool},
};

use crate::{BACK, FRONT, INGRESS};

/// Where inputs play.
#[derive(Debug)]
pub struct Scene {
    /// The maps' contents.
    pub image: Image,
    /// The world that they say, or part of it.
    pub world: World,
    /// Whether they say it without faults, so that more can be claimed than that nothing breaks.
    pub is_sound: bool,
}

impl Scene {
    /// The MAC address that packets of a backend bear.
    #[must_use]
    pub fn mac_of(&self, address: IpAddr) -> Option<u64> {
        let services = self.world.services.iter();
        let mut backends = services.flat_map(|service| &service.backends);
        let (_, hop) = backends.find(|(backend, _)| backend.ip() == address)?;
        hop.is_resolved().then(|| hop.mac())
    }

    /// Whether an address is a VIP.
    #[must_use]
    pub fn is_vip(&self, address: IpAddr) -> bool {
        let mut services = self.world.services.iter();
        services.any(|service| service.vip.ip() == address)
    }
}

/// All scenes, made at the first call.
#[must_use]
pub fn all() -> &'static [Scene] {
    static SCENES: OnceLock<Vec<Scene>> = OnceLock::new();
    SCENES.get_or_init(|| {
        let one_mode = Mode::ALL.map(|mode| sound(of_modes(&[mode])));
        let mut scenes = Vec::from(one_mode);
        scenes.push(sound(of_modes(&Mode::ALL)));
        scenes.push(sound(everything()));
        scenes.push(sound(moving()));
        scenes.push(with_faults());
        scenes
    })
}

fn sound(world: World) -> Scene {
    Scene {
        image: world.image(),
        world,
        is_sound: true,
    }
}

/// Interfaces, routes and, for each mode, services of both protocols and families.
fn of_modes(modes: &[Mode]) -> World {
    let services = modes.iter().flat_map(|mode| services(*mode));
    World {
        interfaces: vec![
            (INGRESS, OUR_MAC, true),
            (BACK, [2, 0, 0, 0, 1, BACK as u8], true),
            (FRONT, [2, 0, 0, 0, 1, FRONT as u8], false),
        ],
        mtus: vec![(FRONT, 1400)],
        services: services.collect(),
        pools: vec![
            pool(&[ip("10.0.0.1"), ip("10.0.0.2")], 10_000, 20_000),
            pool(&[ip("2001:db8:1::1")], 10_000, 20_000),
        ],
        local: ["10.0.0.1", "203.0.113.9", "2001:db8:1::1", "2001:db8:f::9"]
            .map(ip)
            .into(),
        routes: routes(),
        hash_key: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        clock: 1000,
        ..World::default()
    }
}

/// Everything that a configuration may use, all modes, services on ranges, and services that share their
/// backends; of pools and flows less than inputs have.
fn everything() -> World {
    let mut world = of_modes(&Mode::ALL);
    world.features = Feature::Echo as u32;
    world.icmp_rate = 1000;
    world.flows = 9;
    world.pools = vec![
        pool(&[ip("10.0.0.1")], 65_533, 3),
        pool(&[ip("2001:db8:1::1"), ip("2001:db8:1::2")], 1, 1),
    ];
    let shared = |last: u8| {
        let vip = SocketAddr::new([203, 0, 113, last].into(), 80);
        Service {
            vip,
            last_port: 80,
            ..world.services[0].clone()
        }
    };
    let several = [shared(90), shared(91)];
    world.services.extend(several);
    // Both have the same backend only, so that a client's flows cannot part.
    for last in [92, 93] {
        let vip = format!("203.0.113.{last}:80");
        world
            .services
            .push(lone(&vip, "10.0.0.92:8080", TCP, Mode::Nat));
    }
    world.services.extend([
        lone("203.0.113.80:8000", "10.0.0.80:9000", TCP, Mode::Nat).up_to(8009),
        lone("203.0.113.81:0", "10.0.0.81:0", UDP, Mode::Nat).up_to(u16::MAX),
        lone("[2001:db8:f::82]:0", "[2001:db8:1::82]:0", TCP, Mode::L2Dsr).up_to(u16::MAX),
    ]);
    for service in &mut world.services {
        service.flags |= Header::REFUSES;
    }
    let links = world
        .services
        .iter_mut()
        .flat_map(|service| &mut service.links);
    links.for_each(|link| link.mss = 1200);
    world
}

/// All rows move: of TCP those whose backend died, or where it has a second chance those of two that live; of UDP
/// those that learn and those that have learned, of which some go by the client. There is room for eight flows.
fn moving() -> World {
    let mut world = of_modes(&Mode::ALL);
    world.buckets = 1;
    world.features = Feature::Quic as u32;
    for (n, service) in world.services.iter_mut().enumerate() {
        let is_tcp = service.protocol == TCP;
        let hands_over = is_tcp && service.links.iter().all(|link| link.mode == Mode::Gue);
        let moving = Moving {
            old: (!is_tcp || hands_over).then_some(0),
            learned: !is_tcp && n % 2 == 0,
        };
        if is_tcp {
            service.flags = [Header::RESETS, Header::HANDS_OVER][usize::from(hands_over)];
        } else {
            service.affinity = [0, 24][n % 2];
        }
        service.moving = (0..1 << service.log2).map(|slot| (slot, moving)).collect();
    }
    world
}

/// A service with one backend.
fn lone(vip: &str, backend: &str, protocol: u8, mode: Mode) -> Service {
    let vip: SocketAddr = vip.parse().expect("an address and a port");
    let backend = backend.parse().expect("an address and a port");
    let backends = vec![(backend, hop(INGRESS, 0xb0, true))];
    let mut service = Service::new(vip, protocol, backends, 4);
    service.links = vec![link(mode, vip.is_ipv6(), 0)];
    service
}

fn routes() -> Vec<(IpAddr, u8, Action, NextHop)> {
    let gateway = hop(INGRESS, 0xc1, false);
    let far = hop(FRONT, 0xc2, false);
    vec![
        (ip("198.51.100.128"), 25, Action::NextHop, far),
        (ip("192.0.2.0"), 24, Action::Direct, NextHop::UNRESOLVED),
        (ip("10.0.0.0"), 24, Action::Fib, NextHop::UNRESOLVED),
        (ip("0.0.0.0"), 0, Action::NextHop, gateway),
        (ip("2001:db8:c:8000::"), 49, Action::NextHop, far),
        (ip("2001:db8:d::"), 48, Action::Direct, NextHop::UNRESOLVED),
        (ip("2001:db8:1::"), 64, Action::Fib, NextHop::UNRESOLVED),
        (ip("::"), 0, Action::NextHop, gateway),
    ]
}

/// Services of one mode: each has a backend on the link that packets come in by, one behind another
/// interface, and one behind a router; one slot is nobody's.
fn services(mode: Mode) -> Vec<Service> {
    let digit = mode as u8;
    let mut services = Vec::new();
    for v6 in [false, true] {
        for (protocol, port) in [(TCP, 80), (UDP, 53)] {
            let vip = vip(v6, digit, port);
            let backends = (0..3).map(|n| backend(v6, mode, n, port));
            let mut service = Service::new(vip, protocol, backends.collect(), 4);
            service.owners[3] = None;
            service.links = (0..3).map(|n| link(mode, v6, n)).collect();
            services.push(service);
        }
    }
    // A VIP that is this host's, too, with a backend that does not answer.
    let vip = SocketAddr::new(ip("203.0.113.9"), 8000 + u16::from(digit));
    let silent = (SocketAddr::new(ip("10.0.0.99"), 80), NextHop::UNRESOLVED);
    let mut service = Service::new(vip, TCP, vec![silent], 4);
    service.links = vec![link(mode, false, 0)];
    services.push(service);
    services
}

fn vip(v6: bool, digit: u8, port: u16) -> SocketAddr {
    let address = if v6 {
        ip(&format!("2001:db8:f::{}", 10 + digit))
    } else {
        IpAddr::from([203, 0, 113, 10 + digit])
    };
    SocketAddr::new(address, port)
}

fn backend(vip_v6: bool, mode: Mode, n: u8, port: u16) -> (SocketAddr, NextHop) {
    let v6 = vip_v6 ^ (is_tunnel(mode) && n == 1);
    let host = 10 * (1 + mode as u8) + n;
    let (address, on_link) = match (v6, n) {
        (false, 2) => (IpAddr::from([10, 9, 0, host]), false),
        (false, _) => (IpAddr::from([10, 0, 0, host]), true),
        (true, 2) => (ip(&format!("2001:db8:9::{host}")), false),
        (true, _) => (ip(&format!("2001:db8:1::{host}")), true),
    };
    let port = match mode {
        Mode::Nat | Mode::FullNat => port + 8000,
        Mode::L2Dsr | Mode::Ipip | Mode::Gue => port,
    };
    let ifindex = if n == 1 { BACK } else { INGRESS };
    let hop = hop(ifindex, 0xb0 + n, on_link);
    (SocketAddr::new(address, port), hop)
}

const fn is_tunnel(mode: Mode) -> bool {
    matches!(mode, Mode::Ipip | Mode::Gue)
}

fn link(mode: Mode, vip_v6: bool, n: u8) -> Link {
    let v6 = vip_v6 ^ (n == 1);
    let (source, spread) = match (v6, n) {
        (false, 2) => ("192.0.2.1", 0),
        (true, 2) => ("2001:db8:5::1", 0),
        (false, _) => ("10.5.0.0", 16),
        (true, _) => ("2001:db8:5::", 10),
    };
    Link {
        mode,
        mtu: if is_tunnel(mode) { 1400 } else { 1500 },
        source: ip(source),
        spread,
        mss: 0,
        pool: u16::from(vip_v6),
    }
}

/// Tables that point nowhere, as no daemon writes them: nothing may break even so.
fn with_faults() -> Scene {
    let mut scene = sound(everything());
    let image = &mut scene.image;
    let ways = image.directory.iter_mut().flat_map(|set| &mut set.ways);
    for (n, way) in ways.filter(|way| way.tag != 0).enumerate() {
        if n % 5 == 0 {
            way.value ^= 1 << (n % 40);
        }
    }
    for (n, row) in image.slots.iter_mut().flatten().enumerate() {
        if n % 7 == 0 {
            *row ^= 0x0055_5000;
        }
    }
    for (n, backend) in image.backends.iter_mut().enumerate() {
        match n % 6 {
            0 => backend.mode ^= 5,
            2 => backend.index ^= 1 << (n % 16),
            3 => backend.mtu = 20,
            _ => {}
        }
    }
    for (n, pool) in image.pools.iter_mut().enumerate() {
        (pool.count, pool.ports) = [(17, 65_535), (0, 1)][n % 2];
    }
    scene.is_sound = false;
    scene
}

/// By a neighbour behind an interface.
fn hop(ifindex: u32, last: u8, on_link: bool) -> NextHop {
    NextHop::new([2, 0, 0, 0, 0, last], ifindex, on_link)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Addresses, ports and MAC addresses of all scenes, as libFuzzer reads words.
#[must_use]
pub fn dictionary() -> String {
    let mut words = BTreeSet::new();
    for service in all().iter().flat_map(|scene| &scene.world.services) {
        let (ends, hops): (Vec<_>, Vec<_>) = service.backends.iter().copied().unzip();
        for end in ends.iter().chain([&service.vip]) {
            words.insert(octets(end.ip()));
            words.insert(end.port().to_be_bytes().to_vec());
        }
        words.extend(hops.iter().map(|hop| hop.mac().to_le_bytes()[..6].to_vec()));
    }
    let line = |word: Vec<u8>| {
        let digits = word.iter().map(|byte| format!("\\x{byte:02x}"));
        format!("\"{}\"\n", digits.collect::<Vec<_>>().concat())
    };
    words.into_iter().map(line).collect::<Vec<_>>().concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets().into(),
    }
}
