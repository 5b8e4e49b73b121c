//! One step of a change of the maps.

use lb_common::{
    backend::{Backend, Header, Standing, State},
    directory::{Front, Key, Seed, Table, Way},
    interface::Interface,
    maps::Control,
    next_hop::NextHop,
    path::Path,
    pool::Pool,
    range::Ranges,
    route::Route,
    row::{ROWS_PER_ELEMENT, Row, Times},
};

use super::{
    placement::Place,
    store::{Region, Store, StoreError, write_bytes},
};

/// One step of a change of the maps: a few stores, in an order that the data path may watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Empties a half of the directory that the data path does not read.
    ClearHalf {
        /// Its first set.
        first: u32,
        /// Its sets.
        sets: u32,
    },
    /// Writes a way that is free, its tag last.
    Enter {
        /// Where.
        place: Place,
        /// What it is found by.
        key: Key,
        /// What it says.
        value: u64,
    },
    /// One store that says which of some addresses the directory may hold.
    Addresses {
        /// Which word of the filter.
        word: usize,
        /// All that are held before and after.
        bits: u64,
    },
    /// Fills an extent that nothing names.
    Extent {
        /// Index of its header.
        index: u32,
        /// The header.
        header: Header,
        /// The entries behind it.
        entries: Vec<Option<Backend>>,
    },
    /// One store that switches to another half and seed of the directory.
    FlipDirectory {
        /// Both.
        seed: Seed,
    },
    /// One store that switches to another half of the routes.
    FlipRoutes {
        /// 0 or 1.
        half: u32,
    },
    /// One store that names the way that is looked at first.
    Front {
        /// Its number, and a mark of its key.
        front: Front,
    },
    /// Forgets what routers said of a path.
    ForgetPath {
        /// Its index.
        index: u16,
    },
    /// Marks a backend's entry as free, and its flows as nobody's.
    Free {
        /// Its index.
        pair: u32,
    },
    /// Waits until no packet is under way that was received before.
    Grace,
    /// An interface's word.
    Interface {
        /// Its index.
        index: u32,
        /// The word; zero: not one of ours.
        value: Interface,
    },
    /// Frees a way: clears its tag.
    Leave {
        /// Where.
        place: Place,
    },
    /// Fills an element of `RANGES` that nothing names.
    List {
        /// Its index.
        element: u32,
        /// The ranges.
        value: Box<Ranges>,
    },
    /// Writes a backend into an entry that no row names, its state last.
    NewBackend {
        /// Its index.
        pair: u32,
        /// The backend.
        backend: Backend,
    },
    /// Fills a slot table that nothing names.
    NewTable {
        /// Its first element.
        element: u32,
        /// Its rows.
        rows: Vec<Row>,
    },
    /// Fills an element of `POOLS` that nothing names.
    Pool {
        /// Its index.
        index: u16,
        /// The pool.
        pool: Box<Pool>,
    },
    /// One store that changes what a way says.
    Repoint {
        /// Where.
        place: Place,
        /// What it says from now on.
        value: u64,
    },
    /// Writes a route into the half that the data path does not read.
    Route {
        /// Its index.
        index: u32,
        /// The route.
        value: Route,
    },
    /// Rows that come to rest, or that have learned their flows.
    Rest {
        /// The table's first element.
        element: u32,
        /// Slots and their rows.
        rows: Vec<(u32, Row)>,
    },
    /// Single rows of a table in use, with the time where they move.
    Rows {
        /// The table's first element.
        element: u32,
        /// Slots and their rows.
        rows: Vec<(u32, Row)>,
    },
    /// Rows of a table in use as another balancer knows them, each with its times.
    Told {
        /// The table's first element.
        element: u32,
        /// Slots, their rows and these rows' times.
        rows: Vec<(u32, Row, Times)>,
    },
    /// How long packets may be that go to a backend, and what stands in one word with that.
    SetLimits {
        /// Its index.
        pair: u32,
        /// [`Backend::mode`], as it is.
        mode: u8,
        /// [`Backend::flags`], or what has their place.
        flags: u8,
        /// [`Backend::mtu`].
        mtu: u16,
    },
    /// The way to a backend.
    SetNextHop {
        /// Its index.
        pair: u32,
        /// The way.
        next_hop: NextHop,
    },
    /// A backend's weight, and what SYNs may announce.
    SetShare {
        /// Its index.
        pair: u32,
        /// The weight.
        weight: u16,
        /// [`Backend::mss`].
        mss: u16,
    },
    /// How long a service's flows keep its rows moving.
    SetPatience {
        /// Index of the service's header.
        extent: u32,
        /// The header, with both times.
        header: Header,
    },
    /// What probes say of a backend, and since when its flows count.
    SetStanding {
        /// Its index.
        pair: u32,
        /// Both.
        standing: Standing,
    },
    /// Where a service's table is, for the next daemon.
    SetTable {
        /// Index of the service's header.
        extent: u32,
        /// The table.
        table: Table,
    },
    /// Sets the counters of a pair that nothing names.
    Traffic {
        /// Its index.
        pair: u32,
        /// Whose counters it goes on with; `None`: from zero.
        inherit: Option<u32>,
    },
}

const DIRECTORY: usize = core::mem::offset_of!(Control, directory);
const ADDRESSES: usize = core::mem::offset_of!(Control, addresses);
const FRONT: usize = core::mem::offset_of!(Control, front);
const ROUTES: usize = core::mem::offset_of!(Control, routes);
const CLOCK: usize = core::mem::offset_of!(Control, clock);
const STANDING: usize = core::mem::offset_of!(Backend, standing);
const NEXT_HOP: usize = core::mem::offset_of!(Backend, next_hop);
const WEIGHT: usize = core::mem::offset_of!(Backend, weight);
const MODE: usize = core::mem::offset_of!(Backend, mode);
const TABLE: usize = core::mem::offset_of!(Header, table);
const PORT: usize = core::mem::offset_of!(Header, port);
const LAST_PORT: usize = core::mem::offset_of!(Header, last_port);
const DEADLINE: usize = core::mem::offset_of!(Header, deadline);
const COUNT: usize = core::mem::offset_of!(Pool, count);
const TAG: usize = core::mem::offset_of!(Way, tag);
const VALUE: usize = core::mem::offset_of!(Way, value);
const ROW_BYTES: usize = size_of::<Row>();

impl Change {
    /// Makes the stores.
    ///
    /// # Errors
    /// Where an index is outside of its map, or the kernel refuses.
    pub fn apply<S: Store>(&self, store: &mut S) -> Result<(), StoreError> {
        match self {
            Self::ClearHalf { first, sets } => clear_half(store, *first, *sets),
            Self::Enter { place, key, value } => enter(store, *place, key, *value),
            Self::Extent {
                index,
                header,
                entries,
            } => fill_extent(store, *index, header, entries),
            Self::FlipDirectory { seed } => store.store_u64(Region::Control, DIRECTORY, seed.0),
            Self::FlipRoutes { half } => store.store_u64(Region::Control, ROUTES, u64::from(*half)),
            Self::Addresses { word, bits } => set_addresses(store, *word, *bits),
            Self::Front { front } => store.store_u64(Region::Control, FRONT, front.0),
            Self::ForgetPath { index } => put(store, Region::Paths, *index, Path::UNKNOWN.0),
            Self::Free { pair } => free(store, *pair),
            Self::Grace => store.grace_period(),
            Self::Interface { index, value } => put(store, Region::Interfaces, *index, value.0),
            Self::Leave { place } => store.store_u64(Region::Directory, place.offset() + TAG, 0),
            Self::List { element, value } => store.write(Region::Ranges, *element, &**value, 0),
            Self::NewBackend { pair, backend } => {
                store.write(Region::Backends, *pair, backend, STANDING)
            }
            Self::NewTable { element, rows } => fill_table(store, *element, rows),
            Self::Pool { index, pool } => {
                store.write(Region::Pools, u32::from(*index), &**pool, COUNT)
            }
            Self::Repoint { place, value } => {
                store.store_u64(Region::Directory, place.offset() + VALUE, *value)
            }
            Self::Route { index, value } => store.write(Region::Routes, *index, value, 0),
            Self::Rest { element, rows } => set_rows(store, *element, rows),
            Self::Rows { element, rows } => move_rows(store, *element, rows),
            Self::Told { element, rows } => set_told(store, *element, rows),
            Self::SetLimits {
                pair,
                mode,
                flags,
                mtu,
            } => set_entry(store, *pair, MODE, limits(*mode, *flags, *mtu)),
            Self::SetNextHop { pair, next_hop } => {
                let offset = Region::Backends.offset(*pair) + NEXT_HOP;
                store.store_u64(Region::Backends, offset, next_hop.0)
            }
            Self::SetShare { pair, weight, mss } => {
                set_entry(store, *pair, WEIGHT, share(*weight, *mss))
            }
            Self::SetPatience { extent, header } => set_patience(store, *extent, header),
            Self::SetStanding { pair, standing } => set_entry(store, *pair, STANDING, standing.0),
            Self::SetTable { extent, table } => set_entry(store, *extent, TABLE, table.0),
            Self::Traffic { pair, inherit } => store.reset_traffic(*pair, *inherit),
        }
    }
}

/// An element that is one word.
fn put<S: Store>(
    store: &mut S,
    region: Region,
    index: impl Into<u32>,
    word: u64,
) -> Result<(), StoreError> {
    store.store_u64(region, region.offset(index.into()), word)
}

const fn limits(mode: u8, flags: u8, mtu: u16) -> u32 {
    let [first, second] = mtu.to_ne_bytes();
    u32::from_ne_bytes([mode, flags, first, second])
}

const fn share(weight: u16, mss: u16) -> u32 {
    let ([a, b], [c, d]) = (weight.to_ne_bytes(), mss.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

fn clear_half<S: Store>(store: &mut S, first: u32, sets: u32) -> Result<(), StoreError> {
    let begin = Region::Directory.offset(first);
    let end = Region::Directory.offset(first + sets);
    for tag in (begin + TAG..end).step_by(size_of::<Way>()) {
        store.store_u64(Region::Directory, tag, 0)?;
    }
    Ok(())
}

fn enter<S: Store>(store: &mut S, place: Place, key: &Key, value: u64) -> Result<(), StoreError> {
    let way = Way {
        tag: key.tag,
        value,
        rest: key.rest,
        reserved: 0,
    };
    let bytes = zerocopy::IntoBytes::as_bytes(&way);
    write_bytes(store, Region::Directory, place.offset(), bytes, TAG)
}

fn fill_extent<S: Store>(
    store: &mut S,
    index: u32,
    header: &Header,
    entries: &[Option<Backend>],
) -> Result<(), StoreError> {
    for (entry, pair) in entries.iter().zip(index + 1..) {
        match entry {
            Some(backend) => store.write(Region::Backends, pair, backend, STANDING)?,
            None => set_entry(store, pair, STANDING, Standing::default().0)?,
        }
    }
    store.write(Region::Backends, index, header, STANDING)
}

fn fill_table<S: Store>(store: &mut S, element: u32, rows: &[Row]) -> Result<(), StoreError> {
    let moving = (0..).zip(rows.iter().copied());
    let moving = moving.filter(|(_, row)| row.is_moving());
    set_times(store, element, moving)?;
    let begin = Region::Slots.offset(element);
    let bytes = zerocopy::IntoBytes::as_bytes(rows);
    write_bytes(store, Region::Slots, begin, bytes, 0)
}

/// The second, as the data path counts.
fn now<S: Store>(store: &S) -> u32 {
    let now = store.load(Region::Control, CLOCK).unwrap_or(0);
    u32::try_from(now).unwrap_or(u32::MAX)
}

/// Takes note that rows change now.
fn set_times<S: Store>(
    store: &mut S,
    element: u32,
    rows: impl Iterator<Item = (u32, Row)>,
) -> Result<(), StoreError> {
    let begin = Region::Times.offset(element);
    let now = now(store);
    for (slot, row) in rows {
        let times = if row.is_rehashed() {
            Times::unseen(now)
        } else {
            Times::at(now)
        };
        let offset = begin + slot as usize * ROW_BYTES;
        store.store_u32(Region::Times, offset, zerocopy::transmute!(times))?;
    }
    Ok(())
}

fn set_patience<S: Store>(store: &mut S, extent: u32, header: &Header) -> Result<(), StoreError> {
    let bytes = zerocopy::IntoBytes::as_bytes(header);
    for field in [PORT, LAST_PORT, DEADLINE] {
        let word = bytes
            .get(field..field + 4)
            .and_then(|word| word.try_into().ok());
        set_entry(store, extent, field, word.map_or(0, u32::from_ne_bytes))?;
    }
    Ok(())
}

fn move_rows<S: Store>(store: &mut S, element: u32, rows: &[(u32, Row)]) -> Result<(), StoreError> {
    let moving = rows.iter().filter(|(_, row)| row.is_moving());
    set_times(store, element, moving.copied())?;
    set_rows(store, element, rows)
}

/// Times first: a row that moves without them would rest at once.
fn set_told<S: Store>(
    store: &mut S,
    element: u32,
    rows: &[(u32, Row, Times)],
) -> Result<(), StoreError> {
    for (slot, row, times) in rows {
        let offset = Region::Times.offset(element) + *slot as usize * ROW_BYTES;
        store.store_u32(Region::Times, offset, zerocopy::transmute!(*times))?;
        let offset = Region::Slots.offset(element) + *slot as usize * ROW_BYTES;
        store.store_u32(Region::Slots, offset, row.0)?;
    }
    Ok(())
}

fn free<S: Store>(store: &mut S, pair: u32) -> Result<(), StoreError> {
    let standing = Standing::new(State::Free, now(store));
    set_entry(store, pair, STANDING, standing.0)
}

fn set_addresses<S: Store>(store: &mut S, word: usize, bits: u64) -> Result<(), StoreError> {
    let offset = ADDRESSES + word * size_of::<u64>();
    store.store_u64(Region::Control, offset, bits)
}

fn set_rows<S: Store>(store: &mut S, element: u32, rows: &[(u32, Row)]) -> Result<(), StoreError> {
    let begin = Region::Slots.offset(element);
    for (slot, row) in rows {
        store.store_u32(Region::Slots, begin + *slot as usize * ROW_BYTES, row.0)?;
    }
    Ok(())
}

fn set_entry<S: Store>(
    store: &mut S,
    pair: u32,
    field: usize,
    value: u32,
) -> Result<(), StoreError> {
    store.store_u32(
        Region::Backends,
        Region::Backends.offset(pair) + field,
        value,
    )
}

const _: () = assert!((ROWS_PER_ELEMENT as usize * ROW_BYTES).is_multiple_of(8));
const _: () = assert!(core::mem::offset_of!(Backend, mss) == WEIGHT + 2);
const _: () = assert!(core::mem::offset_of!(Header, idle) == LAST_PORT + 2);
const _: () = assert!(size_of::<Times>() == ROW_BYTES);
const _: () = assert!(core::mem::offset_of!(Backend, flags) == MODE + 1);
const _: () = assert!(core::mem::offset_of!(Backend, mtu) == MODE + 2);
