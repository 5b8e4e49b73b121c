//! What the maps say, read back from them: the next daemon knows no more.
//!
//! A daemon may have been killed between any two stores. What nothing names counts as free; a
//! backend that was on its way out counts as installed, so that the next [`diff`](super::diff) takes
//! it out.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use lb_common::{
    address::Address,
    backend::{Backend, Header, State},
    directory::{self, Front, Key, Kind, Seed, Set, Way},
    interface::Interface,
    maps::Control,
    pool,
    range::{Range, Ranges},
    route::{self, LEN},
    row::Row,
};

use super::{
    claims::{Claim, Claims},
    entry::Entry,
    indexed::{far_end, meaning},
    installed::{Installed, Service},
    lists::List,
    placement::{Directory, Place},
    routes,
    state::{Forwarding, Patience, Route},
    store::{Region, Store},
};
use crate::{
    config::model::{PortRange, Ports, Protocol, Vip},
    dataplane::sizes::{Sizes, elements},
};

/// The maps contradict themselves: this version did not write them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pinned maps cannot be adopted: {0}; run `xlb detach` and start the daemon again (nothing \
     is forwarded in between)"
)]
pub struct Inconsistent(String);

fn inconsistent<T>(what: impl Into<String>) -> Result<T, Inconsistent> {
    Err(Inconsistent(what.into()))
}

/// Reads back what maps of these sizes say; `seed` is that of the slot tables.
///
/// # Errors
/// Where the maps contradict themselves.
pub fn adopt<S: Store>(store: &S, seed: u64, sizes: &Sizes) -> Result<Installed, Inconsistent> {
    let mut reader = Reader {
        store,
        installed: Installed::empty(seed, sizes),
    };
    let ways = reader.directory(sizes)?;
    for (key, value) in &ways {
        match kind(key) {
            Some(Kind::Service) => reader.service(*value)?,
            Some(Kind::Address) => {
                let address = address(key);
                reader.installed.addresses.insert(address, *value);
            }
            Some(Kind::Ranges) => reader.services(*key, *value)?,
            Some(Kind::BackendRanges) => drop(reader.list(*key, *value)?),
            // A tunnel's entry in `BACKENDS` says the same.
            Some(Kind::Backend | Kind::Tunnel) => {}
            None => {
                return inconsistent(format!("an entry of an unknown kind, tag {:#x}", key.tag));
            }
        }
    }
    reader.claims(&ways);
    reader.interfaces(sizes);
    reader.routes()?;
    Ok(reader.installed)
}

/// `SLOTS` cannot be longer than 2²⁶ elements.
const LARGEST_LOG2: u32 = 30;

struct Reader<'a, S> {
    store: &'a S,
    installed: Installed,
}

impl<S: Store> Reader<'_, S> {
    fn control(&self) -> Control {
        self.store.read(Region::Control, 0).unwrap_or_default()
    }

    /// The ways of the half in use.
    fn directory(&mut self, sizes: &Sizes) -> Result<Vec<(Key, u64)>, Inconsistent> {
        let seed = Seed(self.control().directory);
        let mut directory = Directory::with_seed(seed, sizes.sets);
        let mut ways = Vec::new();
        for index in directory.active() {
            let Some(set) = self.store.read::<Set>(Region::Directory, index) else {
                return inconsistent(format!("DIRECTORY has no set {index}"));
            };
            for (way, entry) in (0u8..).zip(&set.ways).filter(|(_, entry)| entry.tag != 0) {
                let key = Key {
                    tag: entry.tag,
                    rest: entry.rest,
                };
                let place = Place { set: index, way };
                if !directory.adopt(key, place, entry.value) {
                    return inconsistent(format!("set {index} of DIRECTORY has a key twice"));
                }
                ways.push((key, entry.value));
            }
        }
        self.installed.directory = directory;
        self.installed.front = Front(self.control().front);
        self.installed.filter = self.control().addresses;
        Ok(ways)
    }

    /// Services on several ports.
    fn services(&mut self, key: Key, value: u64) -> Result<(), Inconsistent> {
        for range in self.list(key, value)? {
            self.service(range.value)?;
        }
        Ok(())
    }

    /// An element of `RANGES`.
    fn list(&mut self, key: Key, value: u64) -> Result<Vec<Range>, Inconsistent> {
        let element = u32::try_from(value).unwrap_or(u32::MAX);
        let Some(ranges) = self.store.read::<Ranges>(Region::Ranges, element) else {
            return inconsistent(format!("RANGES has no element {value}"));
        };
        if !self.installed.list_elements.reserve(element, 1) {
            return inconsistent(format!("element {element} of RANGES is named twice"));
        }
        let used = ranges.into_iter().take_while(|range| range.value != 0);
        let ranges: Vec<Range> = used.collect();
        let list = List {
            element,
            ranges: ranges.clone(),
        };
        self.installed.lists.insert(key, list);
        Ok(ranges)
    }

    fn service(&mut self, value: u64) -> Result<(), Inconsistent> {
        let extent = Way::extent(value);
        let table = Way::table(value);
        let header = self.store.read::<Header>(Region::Backends, extent);
        let Some(header) = header.filter(|h| h.standing.is(State::Header) && h.length > 0) else {
            return inconsistent(format!("entry {extent} of BACKENDS is no service's header"));
        };
        let vip = vip(&header)?;
        let free = self.installed.extents.reserve(extent, header.length);
        if !free {
            return inconsistent(format!("the backends of {vip} overlap with others"));
        }
        if table.log2() > LARGEST_LOG2 {
            return inconsistent(format!("the slot table of {vip} has no possible size"));
        }
        let length = elements(table.slots());
        if !self.installed.elements.reserve(table.element(), length) {
            return inconsistent(format!("the slot table of {vip} overlaps with another"));
        }
        let mut entries = vec![None];
        for pair in extent + 1..extent + header.length {
            entries.push(self.backend(pair, vip)?);
        }
        let service = Service {
            extent,
            table,
            entries,
            rows: self.rows(table).into(),
            patience: Patience {
                idle: header.idle,
                deadline: header.deadline,
                resets: header.flags & Header::RESETS != 0,
                learns: header.flags & Header::LEARNS != 0,
                hands_over: header.flags & Header::HANDS_OVER != 0,
                refuses: header.flags & Header::REFUSES != 0,
                affinity: header.affinity,
            },
            lingering: BTreeMap::new(),
            owners: None,
        };
        self.installed.services.insert(vip, service);
        Ok(())
    }

    fn backend(&mut self, pair: u32, vip: Vip) -> Result<Option<Entry>, Inconsistent> {
        let Some(backend) = self.store.read::<Backend>(Region::Backends, pair) else {
            return inconsistent(format!("BACKENDS has no entry {pair}"));
        };
        match Entry::read(&backend, vip) {
            Ok(entry) if entry.is_none_or(|entry| self.named_by(&entry)) => Ok(entry),
            Ok(_) => inconsistent(format!("entry {pair} of BACKENDS names what is not there")),
            Err(mode) => inconsistent(format!("entry {pair} of BACKENDS has the mode {mode}")),
        }
    }

    /// Takes note of the pool or path that an entry names; whether there can be one.
    fn named_by(&mut self, entry: &Entry) -> bool {
        if let Some(far_end) = far_end(entry.address.ip(), entry.forwarding) {
            return self.installed.paths.adopt(far_end, entry.path);
        }
        let Forwarding::FullNat(index) = entry.forwarding else {
            return true;
        };
        let pool = self.store.read::<pool::Pool>(Region::Pools, index.into());
        let pool = pool.as_ref().and_then(meaning);
        pool.is_some_and(|pool| self.installed.pools.adopt(pool, index))
    }

    fn rows(&self, table: directory::Table) -> Vec<Row> {
        let begin = Region::Slots.offset(table.element());
        let words = (0..table.slots().div_ceil(2) as usize).map(|word| begin + word * 8);
        let rows = words.filter_map(|offset| self.store.load(Region::Slots, offset));
        let pair = |word: u64| -> [Row; 2] { zerocopy::transmute!(word) };
        rows.flat_map(pair).collect()
    }

    /// Whom the replies of each backend come from.
    fn claims(&mut self, ways: &[(Key, u64)]) {
        let owners: HashMap<u64, Claim> = self.claimants().collect();
        let mut claims = Claims::new();
        for (key, pair) in ways
            .iter()
            .filter(|(key, _)| kind(key) == Some(Kind::Backend))
        {
            claims.extend(owners.get(pair).map(|claim| (*key, vec![*claim])));
        }
        let lists = self.installed.lists.iter();
        for (key, list) in lists.filter(|(key, _)| kind(key) == Some(Kind::BackendRanges)) {
            let owner = |range: &Range| owners.get(&range.value).copied();
            claims.insert(*key, list.ranges.iter().filter_map(owner).collect());
        }
        self.installed.claims = claims;
    }

    /// Every NAT backend by its pair.
    fn claimants(&self) -> impl Iterator<Item = (u64, Claim)> {
        self.installed.services.iter().flat_map(|(vip, service)| {
            let backends = service.backends();
            let of_nat = backends.filter(|(_, entry)| entry.forwarding == Forwarding::Nat);
            of_nat.map(|(pair, entry)| {
                let claim = Claim {
                    vip: *vip,
                    backend: entry.address,
                };
                (pair.into(), claim)
            })
        })
    }

    fn interfaces(&mut self, sizes: &Sizes) {
        for index in 0..sizes.interfaces {
            let value = self.store.read::<Interface>(Region::Interfaces, index);
            if let Some(value) = value.filter(|value| *value != Interface::default()) {
                self.installed.interfaces.insert(index, value);
            }
        }
    }

    fn routes(&mut self) -> Result<(), Inconsistent> {
        let half = u32::from(self.control().routes == 1);
        self.installed.routes.half = half;
        self.installed.routes.v4 = self.family(half, false)?;
        self.installed.routes.v6 = self.family(half, true)?;
        Ok(())
    }

    fn family(&self, half: u32, v6: bool) -> Result<Vec<Route>, Inconsistent> {
        let mut found = Vec::new();
        for index in (0..LEN).map(|i| route::index(half, v6, i)) {
            let entry = self.store.read::<route::Route>(Region::Routes, index);
            let Some(entry) = entry.filter(|entry| entry.action != route::Action::End as u32)
            else {
                break;
            };
            let Some(route) = routes::meaning(&entry) else {
                return inconsistent(format!("entry {index} of ROUTES is no route"));
            };
            found.push(route);
        }
        Ok(found)
    }
}

fn kind(key: &Key) -> Option<Kind> {
    const V6: u64 = 1 << 7;
    [
        Kind::Service,
        Kind::Backend,
        Kind::Address,
        Kind::Ranges,
        Kind::BackendRanges,
        Kind::Tunnel,
    ]
    .into_iter()
    .find(|kind| *kind as u64 == key.tag & 0xff & !V6)
}

/// The address of a key.
fn address(key: &Key) -> IpAddr {
    let [.., a, b, c, d] = key.tag.to_le_bytes();
    let mixed = u32::from_le_bytes([a, b, c, d]);
    let v6 = key.rest != directory::V4_PREFIX;
    let last = if v6 {
        mixed ^ directory::fold(key.rest)
    } else {
        mixed
    };
    let [first, second, third] = key.rest;
    let words = [first, second, third, last].map(u32::to_ne_bytes);
    Address(zerocopy::transmute!(words)).into()
}

fn vip(header: &Header) -> Result<Vip, Inconsistent> {
    let protocol = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|protocol| protocol.number() == header.protocol);
    let Some(protocol) = protocol else {
        return inconsistent(format!("a service of IP protocol {}", header.protocol));
    };
    let first = u16::from_be_bytes(header.port);
    let ports = match u16::from_be_bytes(header.last_port) {
        _ if first == 0 => Ports::All,
        last if last == first => Ports::One(first),
        last => Ports::Range(PortRange { first, last }),
    };
    Ok(Vip {
        address: header.vip.into(),
        ports,
        protocol,
    })
}
