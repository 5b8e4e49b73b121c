//! Random states, and small ones.

use super::*;
use crate::desired::state::examples;
pub(super) use crate::desired::state::examples::PATIENCE;

/// Services 0 to 4 are on a single port, the others on several, partly of the same addresses.
pub(super) fn vip(number: u8) -> Vip {
    let address = match number % 2 {
        0 => IpAddr::V4(Ipv4Addr::new(203, 0, 113, number % 5 / 2)),
        _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into())),
    };
    let range = |first, last| Ports::Range(PortRange { first, last });
    let ports = match number {
        0..=4 => Ports::One(80),
        5 | 6 => range(80, 87),
        7 | 8 => range(90, 97),
        _ => Ports::All,
    };
    Vip {
        address,
        ports,
        protocol: Protocol::Tcp,
    }
}

pub(super) const SERVICES: u8 = 11;

/// Backends of all services of a family are the same machines.
pub(super) fn backend_address(service: u8, number: u8) -> SocketAddr {
    let ip = match service % 2 {
        0 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
        _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into())),
    };
    let port = match vip(service).ports {
        Ports::All => 0,
        _ if number.is_multiple_of(2) => 8080,
        _ => 8084,
    };
    SocketAddr::new(ip, port)
}

pub(super) fn service(number: u8, slots: u32, backends: std::ops::Range<u8>) -> Service {
    let backend = |i| Backend {
        next_hop: next_hop(i, true),
        ..examples::backend(backend_address(number, i))
    };
    Service {
        vip: vip(number),
        slots,
        mss: 0,
        patience: PATIENCE,
        backends: backends.map(backend).collect(),
    }
}

pub(super) fn next_hop(number: u8, on_link: bool) -> NextHop {
    NextHop::new([2, 0, 0, 0, 0, number], 1, on_link)
}

prop_compose! {
    pub(super) fn state()(
        mut services in prop::collection::vec(any_service(), 0..5),
        local in prop::collection::btree_set(0u8..6, 0..4),
        macs in prop::collection::btree_map(0u32..16, 1u8..4, 0..4),
        routes in prop::collection::vec((0u8..20, 0u8..6), 0..4),
    ) -> State {
        services.sort_by_key(|service| service.vip);
        services.dedup_by_key(|service| service.vip);
        let pools = gather_pools(&mut services);
        let mut addresses = BTreeMap::new();
        for service in &services {
            addresses.insert(service.vip.address, VIP);
        }
        for number in local {
            *addresses.entry(vip(number).address).or_insert(0) |= LOCAL;
        }
        let interface = |(index, mac)| (index, Interface::new([mac; 6], u16::MAX, true));
        State {
            services,
            addresses,
            pools,
            interfaces: macs.into_iter().map(interface).collect(),
            routes: Routes { v4: routes.into_iter().map(route).collect(), v6: Vec::new() },
            flows: 0,
            tracks: false,
            cut: None,
            specialisation: Specialisation::default(),
        }
    }
}

pub(super) fn pool(number: u16) -> Pool {
    Pool {
        addresses: vec![IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7))],
        ports: PortRange {
            first: 10_000 + number,
            last: 20_000,
        },
    }
}

/// The pools that backends use; they go by number before, by place after.
pub(super) fn gather_pools(services: &mut [Service]) -> Vec<Pool> {
    let mut pools = Vec::new();
    for backend in services
        .iter_mut()
        .flat_map(|service| &mut service.backends)
    {
        if let Forwarding::FullNat(index) = &mut backend.forwarding {
            let pool = pool(*index);
            let known = pools.iter().position(|other| *other == pool);
            let place = known.unwrap_or(pools.len());
            if known.is_none() {
                pools.push(pool);
            }
            *index = u16::try_from(place).unwrap();
        }
    }
    pools
}

pub(super) fn route((length, action): (u8, u8)) -> Route {
    let prefix = ipnet::Ipv4Net::new(Ipv4Addr::new(198, 51, 100, 0), length).unwrap();
    let action = match action {
        0 => Action::Fib,
        1 => Action::Direct,
        hop => Action::NextHop(next_hop(hop, false)),
    };
    Route {
        prefix: prefix.trunc().into(),
        action,
    }
}

prop_compose! {
    pub(super) fn any_service()(
        number in 0u8..SERVICES,
        log2 in 6u32..8,
        mss in prop_oneof![4 => Just(0u16), 1 => 536u16..540],
        backends in prop::collection::btree_map(0u8..24, any_backend(), 0..12),
    ) -> Service {
        let backends = backends.into_iter().map(|(i, backend)| at(number, i, backend));
        Service {
            vip: vip(number),
            slots: 1 << log2,
            mss,
            patience: PATIENCE,
            backends: backends.collect(),
        }
    }
}

/// A random backend, put at an address. Where nothing rewrites its port, that is the VIP's.
pub(super) fn at(service: u8, number: u8, mut backend: Backend) -> Backend {
    let mut address = backend_address(service, number);
    if !matches!(backend.forwarding, Forwarding::Nat | Forwarding::FullNat(_)) {
        address.set_port(vip(service).ports.first());
    }
    backend.address = address;
    backend
}

prop_compose! {
    pub(super) fn any_backend()(
        forwarding in any_forwarding(),
        shared in prop::bool::weighted(0.1),
        weight in prop_oneof![4 => Just(1u16), 1 => 0u16..3],
        health in prop_oneof![
            3 => Just(Health::Up),
            1 => Just(Health::Down),
            1 => Just(Health::Unknown),
        ],
        hop in prop::option::weighted(0.8, (0u8..8, any::<bool>())),
        mtu in 1498u16..1502,
    ) -> Backend {
        Backend {
            address: backend_address(0, 0),
            forwarding,
            shared: shared && forwarding == Forwarding::Nat,
            weight,
            health,
            live: health == Health::Up && weight > 0,
            part: Part::WHOLE,
            keeps: health != Health::Down,
            leaving: false,
            next_hop: hop.map_or(NextHop::UNRESOLVED, |(hop, on_link)| next_hop(hop, on_link)),
            mtu,
        }
    }
}

pub(super) fn any_forwarding() -> impl Strategy<Value = Forwarding> {
    let source = (0u8..3, 0u8..3).prop_map(|(number, spread)| TunnelSource {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, number << 4)),
        spread,
    });
    prop_oneof![
        4 => Just(Forwarding::Nat),
        1 => Just(Forwarding::L2Dsr),
        1 => (0u16..4).prop_map(Forwarding::FullNat),
        1 => source.clone().prop_map(Forwarding::Ipip),
        1 => (source, 6080u16..6082).prop_map(|(source, port)| Forwarding::Gue(source, port)),
    ]
}
