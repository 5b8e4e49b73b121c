//! What maps in memory say: to the next daemon, and to packets.

use super::*;

/// What maps say, in an order that does not depend on where.
pub(super) fn said(installed: &Installed) -> State {
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
    let backends = |service: &super::super::installed::Service| {
        let shares = service.shares();
        let backend = |(pair, entry)| said_of(entry, shares.contains_key(&pair), place);
        let mut backends: Vec<_> = service.backends().map(backend).collect();
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
                patience: service.patience,
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
        tracks: false,
        cut: None,
        specialisation: Specialisation::default(),
    }
}

fn said_of(entry: &Entry, live: bool, place: impl Fn(u16) -> u16) -> Backend {
    let health = health_of(entry.state).unwrap();
    Backend {
        address: entry.address,
        forwarding: renumbered(entry.forwarding, place),
        shared: entry.shared,
        weight: entry.weight,
        health,
        live,
        part: Part::WHOLE,
        keeps: health != Health::Down,
        leaving: false,
        next_hop: entry.next_hop,
        mtu: entry.mtu,
    }
}

pub(super) fn renumbered(forwarding: Forwarding, place: impl Fn(u16) -> u16) -> Forwarding {
    match forwarding {
        Forwarding::FullNat(index) => Forwarding::FullNat(place(index)),
        other => other,
    }
}

pub(super) fn wanted(state: &State) -> State {
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
pub(super) fn places(installed: &Installed) -> impl PartialEq + std::fmt::Debug {
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
pub(super) fn owners(installed: &Installed) -> BTreeMap<Vip, Vec<Option<SocketAddr>>> {
    let owner = |service: &super::super::installed::Service, row: &Row| {
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
pub(super) fn replies(state: &State) -> impl Iterator<Item = (Claim, SocketAddr)> {
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
pub(super) fn reply_pair(ram: &Ram, at: SocketAddr) -> Option<u32> {
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
    pub(super) fn owner(&self, pair: u32) -> Claim {
        let mut all = self.services.iter().flat_map(|(vip, service)| {
            let entries = service.backends();
            entries.map(|(pair, entry)| (pair, *vip, entry.address))
        });
        let (_, vip, backend) = all.find(|(other, ..)| *other == pair).unwrap();
        Claim { vip, backend }
    }
}

/// Entries that a packet can reach, by region and index.
pub(super) fn visible(ram: &Ram) -> BTreeSet<(Region, u32)> {
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
pub(super) fn find(ram: &Ram, key: &Key) -> Option<u64> {
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

pub(super) fn assert_forwards(ram: &Ram, before: &State, after: &State) {
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
pub(super) fn service_value(ram: &Ram, vip: Vip) -> u64 {
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
pub(super) type Means = (Forwarding, Option<Pool>);

/// What an entry of the maps does with packets.
pub(super) fn meaning(ram: &Ram, forwarding: Forwarding) -> Means {
    let Forwarding::FullNat(index) = forwarding else {
        return (forwarding, None);
    };
    let pool: pool::Pool = ram.read(Region::Pools, index.into()).unwrap();
    (Forwarding::FullNat(0), indexed::meaning(&pool))
}

/// Where the data path sends packets of a VIP, and how, slot by slot.
pub(super) fn targets(ram: &Ram, vip: Vip) -> Vec<(SocketAddr, Means)> {
    let value = service_value(ram, vip);
    let control: Control = ram.read(Region::Control, 0).unwrap();
    let address = Key::new(Kind::Address, vip.address.into(), 0, 0);
    assert!(
        control.addresses.may_hold(address.tag),
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
