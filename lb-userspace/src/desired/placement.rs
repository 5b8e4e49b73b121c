//! Where the directory's entries stand: sets and ways.

use std::collections::{BTreeMap, HashMap};

use lb_common::directory::{self, Key, Kind, Seed, Way};

use super::{change::Change, store::Region};

/// A way of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Index in `DIRECTORY`.
    pub set: u32,
    /// Below [`WAYS`](lb_common::directory::WAYS).
    pub way: u8,
}

impl Place {
    /// Its number, counted from the map's beginning.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.set * WAYS + self.way as u32
    }

    /// Where it begins in `DIRECTORY`, in bytes.
    #[must_use]
    pub const fn offset(self) -> usize {
        Region::Directory.offset(self.set) + self.way as usize * size_of::<Way>()
    }
}

/// Where the directory's entries stand, and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    seed: Seed,
    /// Sets of one half: a power of two.
    sets: u32,
    entries: BTreeMap<Key, Entry>,
    /// Set → its ways in use, a bit each; sets without one are absent.
    used: HashMap<u32, u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    place: Place,
    value: u64,
}

/// What changes the directory.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// In the order in which things come in.
    pub(super) enter: Vec<Change>,
    /// In the order in which they go out.
    pub(super) leave: Vec<Change>,
    /// Whether something must not be used again before a grace period.
    pub(super) frees: bool,
}

/// No seed makes the entries fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Seeds tried before a set of entries is said not to fit.
const SEEDS: u64 = 64;
#[expect(clippy::cast_possible_truncation, reason = "4")]
const WAYS: u32 = directory::WAYS as u32;
const ALL_WAYS: u8 = (1 << WAYS) - 1;

impl Directory {
    /// An empty directory with this many sets in each half, as freshly made maps have it.
    #[must_use]
    pub(super) fn new(sets: u32) -> Self {
        Self::with_seed(Seed(0), sets)
    }

    pub(super) fn with_seed(seed: Seed, sets: u32) -> Self {
        Self {
            seed,
            sets,
            entries: BTreeMap::new(),
            used: HashMap::new(),
        }
    }

    /// The same entries under the same seed, in maps with more sets: each set becomes a few, as one more
    /// bit of the hash tells them apart. In as many sets, which are copied as they are, all stay where they are.
    pub(super) fn with_sets(&self, sets: u32) -> Self {
        if sets == self.sets {
            return self.clone();
        }
        let mut grown = Self::with_seed(self.seed, sets);
        for (&key, entry) in &self.entries {
            let _entered = grown.put(key, entry.value);
        }
        grown
    }

    /// The stores that fill it where it is empty.
    pub(super) fn enter(&self) -> impl Iterator<Item = Change> {
        self.entries.iter().map(|(&key, entry)| Change::Enter {
            place: entry.place,
            key,
            value: entry.value,
        })
    }

    /// Entries that fit at most.
    pub(super) const fn capacity(&self) -> u32 {
        self.sets * WAYS
    }

    /// The sets that the data path reads.
    pub(super) const fn active(&self) -> core::ops::Range<u32> {
        let first = self.seed.half() * self.sets;
        first..first + self.sets
    }

    /// Where a key's entry stands.
    pub(super) fn place(&self, key: &Key) -> Option<Place> {
        self.entries.get(key).map(|entry| entry.place)
    }

    /// Takes note of an entry that stands here; `false` where the key has another one.
    pub(super) fn adopt(&mut self, key: Key, place: Place, value: u64) -> bool {
        let new = self.entries.insert(key, Entry { place, value }).is_none();
        *self.used.entry(place.set).or_default() |= 1 << place.way;
        new
    }

    /// Makes the directory say what is wanted. Entries stay where they are; where a set overflows,
    /// the other half is filled under another seed.
    pub(super) fn sync(&mut self, wanted: &BTreeMap<Key, u64>) -> Result<Steps, Full> {
        match self.in_place(wanted) {
            Some(steps) => Ok(steps),
            None => self.rebuild(wanted),
        }
    }

    fn in_place(&mut self, wanted: &BTreeMap<Key, u64>) -> Option<Steps> {
        let mut steps = Steps::default();
        let (services, others): (Vec<_>, Vec<_>) =
            wanted.iter().partition(|(key, _)| is_service(key));
        for (&key, &value) in others.into_iter().chain(services) {
            steps.enter.extend(self.put(key, value)?);
        }
        let mut gone: Vec<_> = self
            .entries
            .extract_if(.., |key, _| !wanted.contains_key(key))
            .collect();
        gone.sort_by_key(|(key, _)| !is_service(key));
        for (_, Entry { place, value: _ }) in gone {
            steps.leave.push(Change::Leave { place });
            steps.frees = true;
            self.give_back(place);
        }
        Some(steps)
    }

    /// Puts one entry in, or changes its value; `None` where its set is full.
    #[expect(
        clippy::option_option,
        reason = "the outer one says whether there was room"
    )]
    fn put(&mut self, key: Key, value: u64) -> Option<Option<Change>> {
        if let Some(entry) = self.entries.get_mut(&key) {
            let place = entry.place;
            let changed = entry.value != value;
            entry.value = value;
            return Some(changed.then_some(Change::Repoint { place, value }));
        }
        let place = self.take(key)?;
        self.entries.insert(key, Entry { place, value });
        Some(Some(Change::Enter { place, key, value }))
    }

    fn take(&mut self, key: Key) -> Option<Place> {
        let set = self.seed.set(key.tag, self.shift());
        let used = self.used.entry(set).or_default();
        if *used == ALL_WAYS {
            return None;
        }
        let way = used.trailing_ones();
        *used |= 1 << way;
        let way = u8::try_from(way).ok()?;
        Some(Place { set, way })
    }

    const fn shift(&self) -> u32 {
        u64::BITS - self.sets.ilog2()
    }

    fn give_back(&mut self, place: Place) {
        if let Some(used) = self.used.get_mut(&place.set) {
            *used &= !(1 << place.way);
            if *used == 0 {
                self.used.remove(&place.set);
            }
        }
    }

    fn rebuild(&mut self, wanted: &BTreeMap<Key, u64>) -> Result<Steps, Full> {
        let mut seed = self.seed;
        for _ in 0..SEEDS {
            seed = following(seed, self.seed.half());
            let mut other = Self::with_seed(seed, self.sets);
            let Some(filled) = other.in_place(wanted) else {
                continue;
            };
            let first = other.active().start;
            let clear = Change::ClearHalf {
                first,
                sets: self.sets,
            };
            let flip = Change::FlipDirectory { seed };
            *self = other;
            let enter = [clear].into_iter().chain(filled.enter).chain([flip]);
            return Ok(Steps {
                enter: enter.collect(),
                leave: Vec::new(),
                frees: true,
            });
        }
        Err(Full)
    }
}

const fn is_service(key: &Key) -> bool {
    const V6: u64 = 1 << 7;
    let kind = key.tag & 0xff & !V6;
    kind == Kind::Service as u64 || kind == Kind::Ranges as u64
}

/// Another seed, for the half that is not `half` (`SplitMix64`).
const fn following(seed: Seed, half: u32) -> Seed {
    let word = seed.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    Seed::new((word >> 32) as u32, half ^ 1)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use lb_common::address::Address;

    use super::*;

    fn keys(count: u32) -> BTreeMap<Key, u64> {
        let key = |i: u32| {
            let scattered = i.wrapping_mul(0x9e37_79b9);
            let scattered = (scattered ^ scattered >> 15).wrapping_mul(0x85eb_ca6b);
            let address = Address::from(IpAddr::V4(Ipv4Addr::from_bits(scattered)));
            (Key::new(Kind::Backend, address, 80, 6), u64::from(i))
        };
        (0..count).map(key).collect()
    }

    #[test]
    fn a_set_that_overflows_moves_all_to_the_other_half() {
        let mut directory = Directory::new(64);
        let mut flips = 0;
        for count in 1..=90 {
            let steps = directory.sync(&keys(count)).unwrap();
            let flip = |change: &Change| matches!(change, Change::FlipDirectory { .. });
            flips += steps.enter.iter().filter(|change| flip(change)).count();
            for (key, entry) in &directory.entries {
                assert_eq!(entry.place.set, directory.seed.set(key.tag, 64 - 6));
            }
        }
        assert!(flips > 0);
        assert_eq!(directory.entries.len(), 90);
    }

    #[test]
    fn more_entries_than_ways_do_not_fit() {
        let mut directory = Directory::new(4);
        assert_eq!(directory.sync(&keys(17)).unwrap_err(), Full);
    }

    #[test]
    fn more_sets_hold_what_fewer_did_under_the_same_seed() {
        let mut directory = Directory::new(64);
        for count in 1..=90 {
            directory.sync(&keys(count)).unwrap();
        }
        for sets in [64, 128, 1024] {
            let grown = directory.with_sets(sets);
            assert_eq!(grown.seed, directory.seed);
            assert_eq!(grown.entries.len(), 90);
            assert_eq!(grown.enter().count(), 90);
            for (key, entry) in &grown.entries {
                let set = directory.seed.set(key.tag, u64::BITS - sets.ilog2());
                assert_eq!(
                    (entry.place.set, entry.value),
                    (set, directory.entries[key].value)
                );
            }
        }
    }

    /// Ways are taken as entries come, not in the order of keys; the maps are copied as they are.
    #[test]
    fn as_many_sets_hold_everything_where_it_was() {
        let mut directory = Directory::new(8);
        let mut wanted = BTreeMap::new();
        for (key, value) in keys(12).into_iter().rev() {
            wanted.insert(key, value);
            directory.sync(&wanted).unwrap();
        }
        assert_eq!(directory.with_sets(8), directory);
    }

    #[test]
    fn a_free_way_is_used_again() {
        let mut directory = Directory::new(4);
        directory.sync(&keys(3)).unwrap();
        let before = directory.clone();
        directory.sync(&BTreeMap::new()).unwrap();
        assert_eq!(directory, Directory::with_seed(directory.seed, 4));
        directory.sync(&keys(3)).unwrap();
        assert_eq!(directory, before);
    }
}
