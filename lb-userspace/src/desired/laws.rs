//! The laws of [`diff`](super::diff), on random states.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::{
    address::Address,
    directory::{Filter, Key, Kind, LOCAL, Seed, Set, VIP, Way},
    interface::Interface,
    maps::Control,
    next_hop::NextHop,
    pool,
    range::{self, Ranges},
    row::Row,
};
use proptest::prelude::*;

use super::{
    change::Change,
    claims::Claim,
    diff::{Plan, Refused, diff},
    entry::Entry,
    health_of, indexed,
    installed::Installed,
    ram::{Event, Ram},
    specialisation::Specialisation,
    state::{Action, Backend, Forwarding, Pool, Route, Routes, Service, State, TunnelSource},
    store::{Region, Store},
};
use crate::{
    config::model::{PortRange, Ports, Protocol, Vip},
    dataplane::sizes::{Sizes, elements},
    desired::adopt,
    health::Health,
};

const SEED: u64 = 0x5eed;
const NEXT_HOP: usize = core::mem::offset_of!(lb_common::backend::Backend, next_hop);
/// Regions whose elements are written while nothing names them.
const FRESH: [Region; 5] = [
    Region::Backends,
    Region::Slots,
    Region::Ranges,
    Region::Pools,
    Region::Paths,
];
const SIZES: Sizes = Sizes {
    sets: 64,
    elements: 64,
    backends: 256,
    interfaces: 16,
    lists: 64,
    pools: 8,
    paths: 64,
    flows: 64,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The maps say what is desired, however they came to their state; and what the planner believes
    /// of them is what a next daemon reads.
    #[test]
    fn applying_the_difference_installs_the_state(states in prop::collection::vec(state(), 1..5)) {
        let mut maps = Maps::new();
        for state in &states {
            maps.install(state);
            let read = maps.adopted();
            prop_assert_eq!(said(&read), wanted(state));
            prop_assert_eq!(places(&read), places(&maps.installed));
        }
    }

    /// Nothing is done where nothing differs, neither by this daemon nor by the next.
    #[test]
    fn no_difference_no_change(before in state(), state in state()) {
        let mut maps = Maps::new();
        maps.install(&before);
        maps.install(&state);
        prop_assert_eq!(diff(&maps.installed, &state).unwrap().changes, vec![]);
        prop_assert_eq!(diff(&maps.adopted(), &state).unwrap().changes, vec![]);
    }

    /// After every single store, each row of a VIP with a live backend before and after leads to a
    /// backend that is live before or after.
    #[test]
    fn every_prefix_of_the_stores_forwards(a in state(), b in state(), c in state()) {
        let mut maps = Maps::new();
        maps.install(&a);
        for (before, after) in [(&a, &b), (&b, &c)] {
            let mut watched = maps.ram.clone();
            maps.install(after);
            for event in &maps.ram.journal {
                watched.replay(*event);
                assert_forwards(&watched, before, after);
            }
        }
    }

    /// A daemon that was killed between any two stores is followed by one that installs the state.
    #[test]
    fn a_kill_at_any_store_is_survived(a in state(), b in state(), at in any::<prop::sample::Index>()) {
        let mut maps = Maps::new();
        maps.install(&a);
        let mut ram = maps.ram.clone();
        maps.install(&b);
        for event in &maps.ram.journal[..at.index(maps.ram.journal.len() + 1)] {
            ram.replay(*event);
        }
        let installed = adopt(&ram, SEED, &SIZES).unwrap();
        let mut next = Maps { ram, installed };
        next.install(&b);
        prop_assert_eq!(said(&next.adopted()), wanted(&b));
    }

    /// What no packet may see any more is written to only after a grace period.
    #[test]
    fn nothing_is_used_again_too_early(states in prop::collection::vec(state(), 2..5)) {
        let mut maps = Maps::new();
        for state in &states {
            let seen = visible(&maps.ram);
            let mut grace = false;
            maps.install(state);
            for event in &maps.ram.journal {
                grace |= *event == Event::Grace;
                if let Event::U64(region, offset, _) = event
                    && FRESH.contains(region)
                {
                    // The way to a backend is one word of an entry in use.
                    if *region == Region::Backends && offset % 64 == NEXT_HOP {
                        continue;
                    }
                    let index = u32::try_from(offset / region.element_bytes()).unwrap();
                    prop_assert!(grace || !seen.contains(&(*region, index)), "{event:?}");
                }
            }
        }
    }

    /// A reply of a NAT backend is a service's that has it on that port; where several have it, that of
    /// the one that answered before.
    #[test]
    fn a_reply_finds_a_service_and_keeps_it(a in state(), b in state()) {
        let mut maps = Maps::new();
        maps.install(&a);
        let before: Vec<_> = replies(&a).map(|(_, at)| (at, reply_pair(&maps.ram, at))).collect();
        let owner = |maps: &Maps, pair: Option<u32>| maps.installed.owner(pair.unwrap());
        let before: BTreeMap<_, _> =
            before.into_iter().map(|(at, pair)| (at, owner(&maps, pair))).collect();
        maps.install(&b);
        let wanted: Vec<_> = replies(&b).collect();
        for (claim, at) in &wanted {
            let owner = owner(&maps, reply_pair(&maps.ram, *at));
            prop_assert_eq!(owner.backend.ip(), claim.backend.ip());
            let (ports, other) = (Ports::One(at.port()), owner.ports());
            prop_assert!(other.overlap(ports), "{} of {}", at, other);
            let stays = |claim: &Claim| wanted.iter().any(|(other, _)| other == claim);
            if let Some(senior) = before.get(at).filter(|senior| stays(senior)) {
                // What is new and more precise goes before.
                let precise = |claim: &Claim| core::mem::discriminant(&claim.vip.ports);
                prop_assert!(owner == *senior || precise(&owner) != precise(senior));
            }
        }
    }

    /// Neither the order of the file nor what was before has a say in who owns a slot.
    #[test]
    fn history_leaves_no_trace_in_the_rows(a in state(), b in state()) {
        let (mut long, mut short) = (Maps::new(), Maps::new());
        long.install(&a);
        long.install(&b);
        let mut reversed = b.clone();
        for service in &mut reversed.services {
            service.backends.reverse();
        }
        short.install(&reversed);
        prop_assert_eq!(owners(&long.installed), owners(&short.installed));
    }
}

#[test]
fn a_state_that_outgrows_a_map_is_refused_and_changes_nothing() {
    let installed = Installed::empty(SEED, &SIZES);
    let mut state = State::default();
    state.services.push(service(0, 1 << 12, 0..2));
    let refused = diff(&installed, &state).unwrap_err();
    assert_eq!(
        refused,
        Refused::Outgrown {
            map: "SLOTS",
            needs: 256,
            has: 64
        }
    );
    assert!(refused.to_string().contains("xlb detach"), "{refused}");
}

#[test]
fn a_health_event_stores_the_state_and_the_rows_of_one_backend() {
    let mut maps = Maps::new();
    let mut state = State::default();
    state.services.push(service(0, 256, 0..10));
    maps.install(&state);
    state.services[0].backends[3].health = Health::Down;
    state.services[0].backends[3].live = false;
    let Plan { changes, .. } = diff(&maps.installed, &state).unwrap();
    let [Change::SetState { .. }, Change::Rows { rows, .. }] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert!((25..=26).contains(&rows.len()), "{}", rows.len());
}

#[test]
fn counters_go_on_when_a_service_outgrows_its_extent_and_begin_at_zero_for_others() {
    let mut maps = Maps::new();
    let mut state = State::default();
    state.services.push(service(0, 16, 0..2));
    maps.install(&state);
    for traffic in &mut maps.ram.traffic {
        *traffic = 7;
    }
    state.services[0] = service(0, 16, 0..30);
    maps.install(&state);
    let service = maps.installed.service(vip(0)).unwrap();
    let packets: BTreeMap<_, _> = service
        .backends()
        .map(|(pair, entry)| (entry.address, maps.ram.traffic[pair as usize]))
        .collect();
    for i in 0..30 {
        assert_eq!(packets[&backend_address(0, i)], if i < 2 { 7 } else { 0 });
    }
}

#[test]
fn a_shared_backend_answers_for_the_service_that_was_there_first() {
    let mut maps = Maps::new();
    let mut state = State::default();
    let mut second = service(2, 16, 0..1);
    second.backends[0].address = backend_address(0, 0);
    state.services = vec![second];
    maps.install(&state);
    state.services.insert(0, service(0, 16, 0..1));
    maps.install(&state);
    assert_eq!(maps.reply_vip(0), Some(vip(2)));
    state.services.pop();
    maps.install(&state);
    assert_eq!(maps.reply_vip(0), Some(vip(0)));
}

/// Maps in plain memory, and what the planner believes of them.
struct Maps {
    ram: Ram,
    installed: Installed,
}

impl Maps {
    fn new() -> Self {
        Self {
            ram: Ram::new(&SIZES),
            installed: Installed::empty(SEED, &SIZES),
        }
    }

    fn install(&mut self, state: &State) {
        self.ram.forget();
        let Plan { changes, after, .. } = diff(&self.installed, state).unwrap();
        for change in changes {
            change.apply(&mut self.ram).unwrap();
        }
        self.installed = after;
    }

    fn adopted(&self) -> Installed {
        adopt(&self.ram, SEED, &SIZES).unwrap()
    }

    /// The VIP that replies of a backend of service 0 come from.
    fn reply_vip(&self, backend: u8) -> Option<Vip> {
        let address = backend_address(0, backend);
        let key = Key::new(Kind::Backend, address.ip().into(), address.port(), 6);
        let pair = u32::try_from(find(&self.ram, &key)?).unwrap();
        let entry: lb_common::backend::Backend = self.ram.read(Region::Backends, pair)?;
        let port = u16::from_be_bytes(entry.vip_port);
        Some(Vip {
            address: entry.vip.into(),
            ports: Ports::One(port),
            protocol: Protocol::Tcp,
        })
    }
}

/// What maps say, in an order that does not depend on where.
fn said(installed: &Installed) -> State {
    let pools: Vec<Pool> = installed
        .pools
        .iter()
        .map(|(pool, _)| pool.clone())
        .collect();
    let place = |index: u16| {
        let mut all = installed.pools.iter();
        let place = all.position(|(_, other)| other == index).unwrap();
        u16::try_from(place).unwrap()
    };
    let backends = |service: &super::installed::Service| {
        let entries = service.backends().map(|(pair, entry)| {
            let health = health_of(entry.state).unwrap();
            Backend {
                address: entry.address,
                forwarding: renumbered(entry.forwarding, place),
                shared: entry.shared,
                weight: entry.weight,
                health,
                live: service.shares().contains_key(&pair),
                next_hop: entry.next_hop,
                mtu: entry.mtu,
            }
        });
        let mut backends: Vec<_> = entries.collect();
        backends.sort_by_key(|backend| backend.address);
        backends
    };
    State {
        services: installed
            .services
            .iter()
            .map(|(vip, service)| Service {
                vip: *vip,
                slots: service.slots(),
                mss: service.backends().next().map_or(0, |(_, entry)| entry.mss),
                backends: backends(service),
            })
            .collect(),
        addresses: installed.addresses.clone(),
        pools,
        interfaces: installed.interfaces.clone(),
        routes: Routes {
            v4: installed.routes.v4.clone(),
            v6: installed.routes.v6.clone(),
        },
        flows: 0,
        specialisation: Specialisation::default(),
    }
}

fn renumbered(forwarding: Forwarding, place: impl Fn(u16) -> u16) -> Forwarding {
    match forwarding {
        Forwarding::FullNat(index) => Forwarding::FullNat(place(index)),
        other => other,
    }
}

fn wanted(state: &State) -> State {
    let mut wanted = state.clone();
    wanted.pools.sort();
    let place = |index: u16| {
        let pool = &state.pools[usize::from(index)];
        u16::try_from(wanted.pools.iter().position(|other| other == pool).unwrap()).unwrap()
    };
    for backend in wanted
        .services
        .iter_mut()
        .flat_map(|service| &mut service.backends)
    {
        backend.forwarding = renumbered(backend.forwarding, place);
    }
    wanted.services.sort_by_key(|service| service.vip);
    for service in &mut wanted.services {
        service.backends.sort_by_key(|backend| backend.address);
        // Said with each backend.
        service.mss *= u16::from(!service.backends.is_empty());
    }
    wanted
}

/// All that a next daemon must agree on with the one before.
fn places(installed: &Installed) -> impl PartialEq + std::fmt::Debug {
    let services = installed.services.iter().map(|(vip, service)| {
        let entries = service.entries.clone();
        (
            *vip,
            service.extent,
            service.table,
            entries,
            service.rows.clone(),
        )
    });
    (
        services.collect::<Vec<_>>(),
        installed.directory.clone(),
        (installed.extents.clone(), installed.elements.clone()),
        (installed.routes.clone(), installed.claims.clone()),
        (installed.lists.clone(), installed.list_elements.clone()),
        (installed.pools.clone(), installed.paths.clone()),
    )
}

/// Owner of every slot by address.
fn owners(installed: &Installed) -> BTreeMap<Vip, Vec<Option<SocketAddr>>> {
    let owner = |service: &super::installed::Service, row: &Row| {
        let entry = service
            .entries
            .get(row.primary() as usize)
            .copied()
            .flatten();
        entry.map(|entry| entry.address)
    };
    let services = installed.services.iter();
    services
        .map(|(vip, service)| {
            (
                *vip,
                service.rows.iter().map(|row| owner(service, row)).collect(),
            )
        })
        .collect()
}

/// Every NAT backend, and where a reply of it comes from.
fn replies(state: &State) -> impl Iterator<Item = (Claim, SocketAddr)> {
    state.services.iter().flat_map(|service| {
        let of_nat = service.backends.iter();
        let of_nat = of_nat.filter(|backend| backend.forwarding == Forwarding::Nat);
        of_nat.map(|backend| {
            let claim = Claim {
                vip: service.vip,
                backend: backend.address,
            };
            (
                claim,
                SocketAddr::new(backend.address.ip(), claim.ports().last()),
            )
        })
    })
}

/// The backend that the data path takes a reply for.
fn reply_pair(ram: &Ram, at: SocketAddr) -> Option<u32> {
    let (address, tcp) = (at.ip().into(), Protocol::Tcp.number());
    let exact = find(ram, &Key::new(Kind::Backend, address, at.port(), tcp));
    let value = exact.or_else(|| {
        let element = find(ram, &Key::new(Kind::BackendRanges, address, 0, tcp))?;
        let ranges: Ranges = ram.read(Region::Ranges, u32::try_from(element).unwrap())?;
        range::find(&ranges, at.port().to_be_bytes())
    });
    value.map(|pair| u32::try_from(pair).unwrap())
}

impl Installed {
    /// Whose backend a pair is.
    fn owner(&self, pair: u32) -> Claim {
        let mut all = self.services.iter().flat_map(|(vip, service)| {
            let entries = service.backends();
            entries.map(|(pair, entry)| (pair, *vip, entry.address))
        });
        let (_, vip, backend) = all.find(|(other, ..)| *other == pair).unwrap();
        Claim { vip, backend }
    }
}

/// Entries that a packet can reach, by region and index.
fn visible(ram: &Ram) -> BTreeSet<(Region, u32)> {
    let installed = adopt(ram, SEED, &SIZES).unwrap();
    let pairs = installed.services.values().flat_map(|service| {
        let backends = service.backends().map(|(pair, _)| pair);
        backends.chain([service.extent]).collect::<Vec<_>>()
    });
    let elements = installed.services.values().flat_map(|service| {
        let first = service.table.element();
        first..first + elements(service.slots())
    });
    let lists = installed.lists.values().map(|list| list.element);
    let pools = installed.pools.iter().map(|(_, index)| index.into());
    let paths = installed.paths.iter().map(|(_, index)| index.into());
    pairs
        .map(|pair| (Region::Backends, pair))
        .chain(elements.map(|element| (Region::Slots, element)))
        .chain(lists.map(|element| (Region::Ranges, element)))
        .chain(pools.map(|index| (Region::Pools, index)))
        .chain(paths.map(|index| (Region::Paths, index)))
        .collect()
}

/// The value that the data path finds under a key.
fn find(ram: &Ram, key: &Key) -> Option<u64> {
    let seed = Seed(ram.load(Region::Control, core::mem::offset_of!(Control, directory))?);
    let set: Set = ram.read(
        Region::Directory,
        seed.set(key.tag, 64 - SIZES.sets.ilog2()),
    )?;
    let way = set
        .ways
        .iter()
        .find(|way| way.tag == key.tag && way.rest == key.rest)?;
    Some(way.value)
}

fn assert_forwards(ram: &Ram, before: &State, after: &State) {
    for old in &before.services {
        let Some(new) = after.services.iter().find(|new| new.vip == old.vip) else {
            continue;
        };
        let live = |state: &State, service: &Service| -> BTreeSet<(SocketAddr, Means)> {
            let live = service.backends.iter().filter(|backend| backend.live);
            let means = |backend: &Backend| match backend.forwarding {
                Forwarding::FullNat(i) => {
                    let pool = state.pools[usize::from(i)].clone();
                    (Forwarding::FullNat(0), Some(pool))
                }
                other => (other, None),
            };
            live.map(|b| (b.address, means(b))).collect()
        };
        let (old_live, new_live) = (live(before, old), live(after, new));
        if old_live.is_empty() || new_live.is_empty() {
            continue;
        }
        for target in targets(ram, old.vip) {
            assert!(
                old_live.contains(&target) || new_live.contains(&target),
                "{target:?}"
            );
        }
    }
}

/// What the data path finds of a service on its first port that no more precise one has.
fn service_value(ram: &Ram, vip: Vip) -> u64 {
    let (address, protocol) = (vip.address.into(), vip.protocol.number());
    if vip.ports.is_one() {
        let key = Key::new(Kind::Service, address, vip.ports.first(), protocol);
        return find(ram, &key).expect("the VIP is in the directory");
    }
    let key = Key::new(Kind::Ranges, address, 0, protocol);
    let element = find(ram, &key).expect("the VIP's ranges are in the directory");
    let element = u32::try_from(element).unwrap();
    let ranges: Ranges = ram.read(Region::Ranges, element).unwrap();
    range::find(&ranges, vip.ports.first().to_be_bytes()).expect("the VIP is among its ranges")
}

/// A way of forwarding, and the pool that it uses.
type Means = (Forwarding, Option<Pool>);

/// What an entry of the maps does with packets.
fn meaning(ram: &Ram, forwarding: Forwarding) -> Means {
    let Forwarding::FullNat(index) = forwarding else {
        return (forwarding, None);
    };
    let pool: pool::Pool = ram.read(Region::Pools, index.into()).unwrap();
    (Forwarding::FullNat(0), indexed::meaning(&pool))
}

/// Where the data path sends packets of a VIP, and how, slot by slot.
fn targets(ram: &Ram, vip: Vip) -> Vec<(SocketAddr, Means)> {
    let value = service_value(ram, vip);
    let addresses = ram.load(Region::Control, core::mem::offset_of!(Control, addresses));
    let address = Key::new(Kind::Address, vip.address.into(), 0, 0);
    assert!(
        Filter(addresses.unwrap()).may_hold(address.tag),
        "{vip} passes the filter"
    );
    let (table, extent) = (Way::table(value), Way::extent(value));
    let target = |slot: u32| {
        let offset = Region::Slots.offset(table.element()) + slot as usize / 2 * 8;
        let words: [Row; 2] = zerocopy::transmute!(ram.load(Region::Slots, offset).unwrap());
        let pair = extent + words[slot as usize % 2].primary();
        let entry: lb_common::backend::Backend = ram.read(Region::Backends, pair).unwrap();
        let meant = Entry::read(&entry, vip).unwrap().expect("a backend");
        if matches!(meant.forwarding, Forwarding::Nat | Forwarding::L2Dsr) {
            assert_eq!(entry.vip, Address::from(vip.address));
            assert_eq!(entry.vip_port, vip.ports.first().to_be_bytes());
        }
        assert_eq!(meant.to_backend(vip), entry);
        (meant.address, meaning(ram, meant.forwarding))
    };
    (0..table.slots()).map(target).collect()
}

/// Services 0 to 4 are on a single port, the others on several, partly of the same addresses.
fn vip(number: u8) -> Vip {
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

const SERVICES: u8 = 11;

/// Backends of all services of a family are the same machines.
fn backend_address(service: u8, number: u8) -> SocketAddr {
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

fn service(number: u8, slots: u32, backends: std::ops::Range<u8>) -> Service {
    let backend = |i| Backend {
        address: backend_address(number, i),
        forwarding: Forwarding::Nat,
        shared: false,
        weight: 1,
        health: Health::Up,
        live: true,
        next_hop: next_hop(i, true),
        mtu: 1500,
    };
    Service {
        vip: vip(number),
        slots,
        mss: 0,
        backends: backends.map(backend).collect(),
    }
}

fn next_hop(number: u8, on_link: bool) -> NextHop {
    NextHop::new([2, 0, 0, 0, 0, number], 1, on_link)
}

prop_compose! {
    fn state()(
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
            specialisation: Specialisation::default(),
        }
    }
}

fn pool(number: u16) -> Pool {
    Pool {
        addresses: vec![IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7))],
        ports: PortRange {
            first: 10_000 + number,
            last: 20_000,
        },
    }
}

/// The pools that backends use; they go by number before, by place after.
fn gather_pools(services: &mut [Service]) -> Vec<Pool> {
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

fn route((length, action): (u8, u8)) -> Route {
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
    fn any_service()(
        number in 0u8..SERVICES,
        log2 in 6u32..8,
        mss in prop_oneof![4 => Just(0u16), 1 => 536u16..540],
        backends in prop::collection::btree_map(0u8..24, any_backend(), 0..12),
    ) -> Service {
        let backends = backends.into_iter().map(|(i, backend)| at(number, i, backend));
        Service { vip: vip(number), slots: 1 << log2, mss, backends: backends.collect() }
    }
}

/// A random backend, put at an address. Where nothing rewrites its port, that is the VIP's.
fn at(service: u8, number: u8, mut backend: Backend) -> Backend {
    let mut address = backend_address(service, number);
    if !matches!(backend.forwarding, Forwarding::Nat | Forwarding::FullNat(_)) {
        address.set_port(vip(service).ports.first());
    }
    backend.address = address;
    backend
}

prop_compose! {
    fn any_backend()(
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
            next_hop: hop.map_or(NextHop::UNRESOLVED, |(hop, on_link)| next_hop(hop, on_link)),
            mtu,
        }
    }
}

fn any_forwarding() -> impl Strategy<Value = Forwarding> {
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
