//! Two balancers that tell each other, with backends in other places and clocks of their own.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of slots and of a few backends"
)]

use lb_common::tracked::{ENTRIES, Origin, Place, Tracked};

use super::*;
use crate::{
    desired::peering::{Parked, Taker, Telling, is_up, take},
    peers::{FlowNews, Left, News, Owner, RowNews, Taken},
};

const BUCKETS: u32 = Origin::LEAST_BUCKETS;
const SLOTS: u32 = 64;

struct Balancer {
    maps: Maps,
    telling: Telling,
    parked: Parked,
    now: u32,
    has_traffic: bool,
}

/// Service 0 with these backends.
fn state(backends: std::ops::Range<u8>) -> State {
    State {
        tracks: true,
        services: vec![service(0, SLOTS, backends)],
        ..State::default()
    }
}

impl Balancer {
    fn new(now: u32) -> Self {
        let sizes = Sizes {
            buckets: BUCKETS,
            ..SIZES
        };
        Self {
            maps: Maps {
                ram: Ram::new(&sizes),
                installed: Installed::empty(SEED, &sizes),
            },
            telling: Telling::new(BUCKETS),
            parked: Parked::default(),
            now,
            has_traffic: false,
        }
    }

    fn install(&mut self, state: &State) {
        self.clock();
        self.maps.install(state);
    }

    fn clock(&mut self) {
        let clock = core::mem::offset_of!(Control, clock);
        let ram = &mut self.maps.ram;
        ram.store_u64(Region::Control, clock, self.now.into())
            .unwrap();
    }

    fn service(&self) -> &crate::desired::InstalledService {
        self.maps.installed.service(vip(0)).unwrap()
    }

    fn offset(&self, backend: u8) -> u32 {
        let mut entries = self.service().by_offset();
        let address = backend_address(0, backend);
        let (offset, _) = entries.find(|(_, it)| it.address == address).unwrap();
        offset.into()
    }

    fn address(&self, offset: u32) -> Option<SocketAddr> {
        let entry = self.service().entries.get(offset as usize)?.as_ref()?;
        Some(entry.address)
    }

    /// As the data path does.
    fn track(&mut self, hash: u64, entry: impl Fn(u64) -> Tracked) {
        let place = Place::of(hash);
        let index = (place.bucket & (BUCKETS - 1)) as usize * ENTRIES;
        let origin = Origin::of(hash, self.service().extent);
        let ram = &mut self.maps.ram;
        ram.store_u64(Region::Tracked, index * 8, entry(place.tag).0)
            .unwrap();
        ram.store_u64(Region::Origins, index * 8, origin.0).unwrap();
    }

    fn confirmed(&mut self, hash: u64, backend: u8, seen: u32) {
        let owner = self.offset(backend);
        self.track(hash, |tag| Tracked::confirmed(tag, owner, seen));
    }

    fn entry(&self, hash: u64) -> Option<Tracked> {
        let place = Place::of(hash);
        let first = (place.bucket & (BUCKETS - 1)) as usize * ENTRIES;
        let entries = (first..first + ENTRIES).filter_map(|index| {
            let word = self.maps.ram.load(Region::Tracked, index * 8)?;
            Some(Tracked(word))
        });
        let mut live = entries.filter(|it| it.is_live(self.now, PATIENCE.idle.into()));
        live.find(|it| it.tag() == place.tag)
    }

    /// Where a packet goes that is no SYN.
    fn goes_to(&self, hash: u64) -> Option<SocketAddr> {
        let service = self.service();
        let row = service.rows[service.table.slot(hash) as usize];
        let offset = match self.entry(hash) {
            _ if !row.is_moving() => row.primary(),
            Some(entry) => entry.owner(),
            None => row.old(),
        };
        self.address(offset)
    }

    fn news(&mut self) -> News {
        let mut news = News::default();
        let Maps { ram, installed } = &self.maps;
        self.telling.rows(ram, installed, self.now, &mut news);
        self.telling.flows(ram, installed, self.now, &mut news);
        news
    }

    /// All rows are at rest.
    fn rest(&mut self) {
        let service = self.maps.installed.services.get_mut(&vip(0)).unwrap();
        let at_rest = |(slot, row): (u32, &Row)| {
            let primary = u16::try_from(row.primary()).unwrap();
            (slot, Row::stable(primary))
        };
        let rows: Vec<_> = (0..).zip(service.rows.iter()).map(at_rest).collect();
        service.set_rows(&rows);
        let element = service.table.element();
        let change = Change::Rest { element, rows };
        change.apply(&mut self.maps.ram).unwrap();
    }

    fn take(&mut self, news: &News) -> Taken {
        self.clock();
        let has_traffic = self.has_traffic;
        let taker = Taker {
            now: self.now,
            buckets: BUCKETS,
            has_traffic: &|_| has_traffic,
        };
        let Maps { ram, installed } = &mut self.maps;
        let memory = (&mut self.telling, &mut self.parked);
        take(ram, installed, memory, news, &taker).unwrap()
    }

    /// As after every change.
    fn take_parked(&mut self) {
        let installed = &self.maps.installed;
        let is_back = |owner: &Owner| is_up(installed, owner);
        if let Some(news) = self.parked.of_those_back(self.now, is_back) {
            self.take(&news);
        }
    }
}

/// One whose backend 2 has just lost its share, with a flow in every row since then, and one that knows
/// backends in another order, and has not seen the change.
fn one_and_a_late_one() -> (Balancer, Balancer) {
    let mut one = Balancer::new(NOW);
    one.install(&state(0..3));
    let mut after = state(0..3);
    after.services[0].backends[2].weight = 0;
    one.install(&after);
    for slot in 0..u64::from(SLOTS) {
        let hash = hash_of(slot);
        let owner = one.service().rows[slot as usize].primary();
        one.track(hash, |tag| Tracked::confirmed(tag, owner, NOW));
    }
    let mut late = Balancer::new(70_000);
    late.install(&state(1..3));
    late.install(&state(0..1));
    late.install(&after);
    late.rest();
    (one, late)
}

fn hash_of(slot: u64) -> u64 {
    slot << 58 | (slot * 0x1_2345_6789 + 7)
}

#[test]
fn one_that_comes_late_sends_every_flow_where_it_is() {
    let (mut one, mut late) = one_and_a_late_one();
    assert_ne!(one.offset(0), late.offset(0));
    let moved: Vec<u64> = (0..u64::from(SLOTS))
        .filter(|slot| {
            let row = one.service().rows[*slot as usize];
            row.old() != row.primary()
        })
        .collect();
    assert!(!moved.is_empty());
    let taken = late.take(&one.news());
    assert_eq!(taken.flows, u64::from(SLOTS));
    assert_eq!(taken.rows, moved.len() as u64);
    assert_eq!(taken.left, [0; 5]);
    for slot in 0..u64::from(SLOTS) {
        // Tracked ones, and one of each row that is not.
        for hash in [hash_of(slot), hash_of(slot) + 1] {
            assert_eq!(late.goes_to(hash), one.goes_to(hash), "slot {slot}");
        }
        let times =
            crate::desired::times(&late.maps.ram, late.service().table.element(), slot as u32);
        assert!(
            !moved.contains(&slot) || times.quiet(late.now) == 1,
            "{times:?}"
        );
    }
}

#[test]
fn nothing_is_told_twice_and_nothing_back() {
    let (mut one, mut late) = one_and_a_late_one();
    let news = one.news();
    late.take(&news);
    assert!(one.news().is_empty());
    assert!(late.news().is_empty());
    assert_eq!(late.take(&news), Taken::default());
    assert!(late.news().is_empty());
}

#[test]
fn half_open_flows_are_nobody_elses_business() {
    let (mut one, _) = one_and_a_late_one();
    one.news();
    let owner = one.offset(0);
    one.track(1 << 20, |tag| Tracked::half_open(tag, owner, NOW, 5));
    assert!(one.news().is_empty());
    one.confirmed(1 << 20, 0, NOW);
    let news = one.news();
    let hashes: Vec<_> = news.flows.iter().map(|flow| flow.hash).collect();
    assert_eq!(hashes, [1 << 20]);
    let ended = one.entry(1 << 20).unwrap().seen_at(NOW, true);
    one.track(1 << 20, |_| ended);
    assert!(one.news().flows.iter().all(|flow| flow.closing));
}

/// An origin is written behind its entry: what stands there meanwhile is another flow's.
#[test]
fn a_flow_is_told_when_it_is_known_whose_it_is() {
    let (mut one, _) = one_and_a_late_one();
    one.news();
    let hash = 99u64 << 40;
    one.confirmed(hash, 1, NOW);
    let place = (Place::of(hash).bucket & (BUCKETS - 1)) as usize * ENTRIES * 8;
    let origin = one.maps.ram.load(Region::Origins, place).unwrap();
    one.maps
        .ram
        .store_u64(Region::Origins, place, Origin::of(1 << 33, 3).0)
        .unwrap();
    assert!(one.news().is_empty());
    one.maps
        .ram
        .store_u64(Region::Origins, place, origin)
        .unwrap();
    assert_eq!(one.news().flows[0].hash, hash);
}

#[test]
fn what_goes_on_is_told_again_every_quarter_of_its_idle_time() {
    let (mut one, mut late) = one_and_a_late_one();
    late.take(&one.news());
    let quarter = u32::from(PATIENCE.idle) / 4;
    let hash = hash_of(5);
    let owner = one.entry(hash).unwrap().owner();
    for (after, told) in [
        (1, 0),
        (quarter - 1, 0),
        (quarter, 1),
        (quarter + 1, 0),
        (2 * quarter, 1),
    ] {
        one.now = NOW + after;
        one.track(hash, |tag| Tracked::confirmed(tag, owner, NOW + after));
        let news = one.news();
        assert_eq!(news.flows.len(), told, "after {after} s");
        late.now = 70_000 + after;
        assert_eq!(late.take(&news).flows, 0);
    }
    assert_eq!(late.entry(hash).unwrap().age(late.now), 1);
}

#[test]
fn what_is_known_here_comes_first() {
    let (mut one, mut late) = one_and_a_late_one();
    let news = one.news();
    let (kept, half_open, ended) = (hash_of(1), hash_of(2), hash_of(3));
    let other = |late: &Balancer, hash: u64| {
        let theirs = one.goes_to(hash);
        (0..2)
            .map(|it| late.offset(it))
            .find(|it| late.address(*it) != theirs)
            .unwrap()
    };
    let owner = other(&late, kept);
    late.track(kept, |tag| Tracked::confirmed(tag, owner, 69_990));
    let before = late.entry(kept);
    let owner = other(&late, half_open);
    late.track(half_open, |tag| Tracked::half_open(tag, owner, 70_000, 1));
    let owner = other(&late, ended);
    late.track(ended, |tag| {
        Tracked::confirmed(tag, owner, 69_990).seen_at(69_990, true)
    });
    late.has_traffic = true;
    let moving = late.service().moving_rows();
    let taken = late.take(&news);
    assert_eq!(
        taken.left[Left::KnownOtherwise as usize],
        news.rows.len() as u64 + 1
    );
    assert_eq!(late.entry(kept), before);
    assert_eq!(late.goes_to(half_open), one.goes_to(half_open));
    assert_eq!(late.goes_to(ended), one.goes_to(ended));
    assert_eq!(moving, 0);
    // Of rows at rest whose flows are with another than their owner, none.
    assert_eq!(late.service().moving_rows(), 0);
}

#[test]
fn a_flow_that_is_not_with_its_rows_owner_is_looked_up() {
    let (one, mut late) = one_and_a_late_one();
    let hash = hash_of(9);
    let row = late.service().rows[9];
    let owner = Owner {
        vip: vip(0),
        address: late.address(late.offset(2)).unwrap(),
    };
    let news = News {
        owners: vec![owner],
        flows: vec![FlowNews {
            owner: 0,
            hash,
            age: 10,
            closing: false,
        }],
        ..News::default()
    };
    assert_eq!(
        late.take(&news),
        Taken {
            flows: 1,
            rows: 1,
            ..Taken::default()
        }
    );
    assert_eq!(late.goes_to(hash), Some(owner.address));
    // Its older flows are where they were.
    assert_eq!(late.goes_to(hash + 1), late.address(row.primary()));
    drop(one);
}

/// A client's port that is used again: the flow before was with a backend that died.
#[test]
fn a_flow_of_the_dead_says_nothing() {
    let (_, mut late) = one_and_a_late_one();
    let hash = hash_of(1);
    late.confirmed(hash, 1, late.now - 1);
    let mut after = state(0..3);
    after.services[0].backends[1].health = Health::Down;
    after.services[0].backends[1].live = false;
    after.services[0].backends[1].keeps = false;
    late.install(&after);
    let dead = late.offset(1) as usize;
    let service = late.maps.installed.services.get_mut(&vip(0)).unwrap();
    service.entries[dead].as_mut().unwrap().since = late.now;
    late.now += 1;
    let owner = Owner {
        vip: vip(0),
        address: backend_address(0, 0),
    };
    let flow = FlowNews {
        owner: 0,
        hash,
        age: 0,
        closing: false,
    };
    let news = News {
        owners: vec![owner],
        flows: vec![flow],
        ..News::default()
    };
    assert_eq!(late.take(&news).flows, 1);
    assert_eq!(late.entry(hash).unwrap().owner(), late.offset(0));
}

#[test]
fn what_is_not_known_here_is_counted() {
    let (_, mut late) = one_and_a_late_one();
    let mut after = state(0..3);
    after.services[0].backends[1].health = Health::Down;
    after.services[0].backends[1].live = false;
    after.services[0].backends[1].keeps = false;
    late.install(&after);
    let owner = |service, backend| Owner {
        vip: vip(service),
        address: backend_address(0, backend),
    };
    let flow = |owner, hash| FlowNews {
        owner,
        hash,
        age: 0,
        closing: false,
    };
    let row = RowNews {
        owner: 3,
        slot: 1,
        log2_slots: 7,
        quiet: 0,
        age: 0,
    };
    let place = Place::of(1);
    let crowd = (1..)
        .map(|n| n * 0x9e37_79b9)
        .filter(|hash| (Place::of(*hash).bucket ^ place.bucket) & (BUCKETS - 1) == 0);
    let crowd = crowd.take(ENTRIES + 1).map(|hash| flow(3, hash));
    let flows = [flow(0, 1), flow(1, 2), flow(2, 3), flow(9, 4)];
    let news = News {
        owners: vec![owner(4, 0), owner(0, 9), owner(0, 1), owner(0, 0)],
        rows: vec![row],
        flows: flows.into_iter().chain(crowd).collect(),
        ..News::default()
    };
    let taken = late.take(&news);
    let left = Left::ALL.map(|why| (why.label(), taken.left[why as usize]));
    assert_eq!(
        left,
        [
            ("unknown_service", 2),
            ("unknown_backend", 2),
            ("backend_down", 1),
            ("known_otherwise", 0),
            ("no_room", 1),
        ]
    );
    assert_eq!(taken.flows, ENTRIES as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever a peer tells that is not the end of a flow, flows that are known here, and older flows of rows that moved here, stay.
    #[test]
    fn nothing_that_is_told_moves_a_flow_of_this_balancers_own(
        rows in prop::collection::vec((0..5u32, 0..SLOTS, any::<u16>(), any::<u16>()), 0..80),
        flows in prop::collection::vec((0..5u32, 0..u64::from(SLOTS), 0..3u64, 0..2000u16), 0..80),
    ) {
        let (mut one, _) = one_and_a_late_one();
        one.has_traffic = true;
        let hashes = || (0..u64::from(SLOTS)).map(hash_of);
        let before: Vec<_> = hashes().map(|hash| one.goes_to(hash)).collect();
        let older: Vec<_> = hashes().map(|hash| one.goes_to(hash + 99)).collect();
        let owners = (0..4).map(|n| Owner { vip: vip(0), address: backend_address(0, n) }).collect();
        let news = News {
            owners,
            rows: rows.into_iter().map(|(owner, slot, quiet, age)| {
                RowNews { owner, slot, log2_slots: 6, quiet, age }
            }).collect(),
            flows: flows.into_iter().map(|(owner, slot, n, age)| {
                FlowNews { owner, hash: hash_of(slot) + n, age, closing: false }
            }).collect(),
            ..News::default()
        };
        one.take(&news);
        prop_assert_eq!(hashes().map(|hash| one.goes_to(hash)).collect::<Vec<_>>(), before);
        prop_assert_eq!(hashes().map(|hash| one.goes_to(hash + 99)).collect::<Vec<_>>(), older);
        // And the maps say what the daemon believes.
        let element = one.service().table.element();
        for slot in 0..SLOTS {
            let word = one.maps.ram.load(Region::Slots, Region::Slots.offset(element) + slot as usize / 2 * 8).unwrap();
            let pair: [u32; 2] = zerocopy::transmute!(word);
            prop_assert_eq!(Row(pair[slot as usize % 2]), one.service().rows[slot as usize]);
        }
    }
}

/// A flow that is opened in a row at rest is not tracked: elsewhere, too, that row must not send it to an older owner.
#[test]
fn rows_come_to_rest_together() {
    let (mut one, mut late) = one_and_a_late_one();
    late.take(&one.news());
    let moving = |balancer: &Balancer| {
        let rows = balancer.service().rows.iter();
        rows.filter(|row| row.is_moving()).count()
    };
    let before = moving(&late);
    assert!(before > 0);
    one.rest();
    let at_rest = one.news();
    assert_eq!(at_rest.rows.len(), before);
    assert!(at_rest.rows.iter().all(|row| row.quiet == RowNews::AT_REST));
    // Flows of its own may still go elsewhere.
    late.take(&at_rest);
    assert_eq!(moving(&late), before);
    late.now += u32::from(PATIENCE.idle) / 4 + 1;
    late.take(&at_rest);
    assert_eq!(moving(&late), 0);
    for slot in 0..u64::from(SLOTS) {
        assert_eq!(late.goes_to(hash_of(slot)), one.goes_to(hash_of(slot)));
    }
    // It is told once.
    assert_eq!(one.news().rows, []);
}

/// Who was away when a row came to rest is told when it says that the row moves; unless it has flows of its own there.
#[test]
fn who_was_away_hears_of_rows_at_rest() {
    for has_traffic in [false, true] {
        let (mut one, mut late) = one_and_a_late_one();
        one.has_traffic = true;
        late.take(&one.news());
        one.rest();
        // Nobody hears that; and who begins anew tells all.
        one.news();
        late.telling = Telling::new(BUCKETS);
        let said = late.news();
        late.has_traffic = has_traffic;
        late.now += u32::from(PATIENCE.idle) / 4 + 1;
        assert!(!said.rows.is_empty());
        one.take(&said);
        let answer = one.news();
        let is_answer =
            |row: &RowNews| row.quiet == RowNews::AT_REST && row.age == RowNews::ALL_ALONG;
        assert!(answer.rows.iter().all(is_answer));
        assert_eq!(answer.rows.len(), said.rows.len());
        late.take(&answer);
        let moves = late.service().rows.iter().any(|row| row.is_moving());
        assert_eq!(moves, has_traffic);
        // It is told once.
        assert_eq!(one.news().rows, []);
    }
}

/// Nor was it heard if the row came to rest before there was anybody to hear it, after both had told each other that it
/// moves.
#[test]
fn who_listens_again_tells_what_moves_and_hears_of_rows_at_rest() {
    let (mut one, mut late) = one_and_a_late_one();
    one.has_traffic = true;
    late.take(&one.news());
    let moving = late.service().moving_rows();
    one.rest();
    one.news();
    let all = News {
        completes: true,
        ..News::default()
    };
    assert_eq!(late.news().rows, []);
    late.take(&all);
    late.now += u32::from(PATIENCE.idle) / 4 + 1;
    let said = late.news();
    assert_eq!(said.rows.len(), moving as usize);
    one.take(&said);
    late.take(&one.news());
    assert_eq!(late.service().moving_rows(), 0);
    // It is told once.
    assert_eq!(late.news().rows, []);
}

/// A peer may see a backend return before this balancer does: its flows are known once it does.
#[test]
fn flows_of_a_backend_that_returns_are_kept_until_it_is_seen() {
    let (mut one, mut late) = one_and_a_late_one();
    let (up, mut down) = (state(0..3), state(0..3));
    down.services[0].backends[1].health = Health::Down;
    down.services[0].backends[1].live = false;
    late.install(&down);
    let hash = hash_of(3) + 5;
    one.confirmed(hash, 1, NOW);
    let news = one.news();
    assert!(late.take(&news).left[Left::BackendDown as usize] > 0);
    late.take_parked();
    assert!(late.entry(hash).is_none());
    late.now += 2;
    late.install(&up);
    late.take_parked();
    assert_eq!(late.goes_to(hash), Some(backend_address(0, 1)));
    late.now += 1;
    late.take_parked();
}

/// Who has no flows of its own believes the latest word: a row may have moved before, elsewhere and here.
#[test]
fn who_has_no_flows_believes_the_latest_word() {
    for has_traffic in [false, true] {
        let (mut one, mut late) = one_and_a_late_one();
        late.take(&one.news());
        late.has_traffic = has_traffic;
        let (slot, row) = {
            let mut rows = (0..).zip(one.service().rows.iter());
            rows.find(|(_, row)| row.is_moving()).unwrap()
        };
        let before = late.service().rows[slot as usize];
        // Its older owner died there: its flows, and new ones, are where it is.
        let owner = one.address(row.primary()).unwrap();
        let at_home = Row::moving(u16::try_from(row.primary()).unwrap(), row.primary() as u16);
        let service = one.maps.installed.services.get_mut(&vip(0)).unwrap();
        service.set_rows(&[(slot, at_home)]);
        let told = one.news();
        assert!(told.rows.iter().any(|row| row.slot == slot));
        late.take(&told);
        let after = late.service().rows[slot as usize];
        if has_traffic {
            assert_eq!(after, before);
        } else {
            assert_eq!(late.address(after.old()), Some(owner));
        }
    }
}

/// A flow whose backend died since is nobody's: it is not told.
#[test]
fn flows_of_the_dead_are_not_told() {
    let mut one = Balancer::new(NOW);
    one.install(&state(0..3));
    let hash = hash_of(3) + 5;
    one.confirmed(hash, 1, NOW);
    let mut dead = state(0..3);
    dead.services[0].backends[1].health = Health::Down;
    dead.services[0].backends[1].live = false;
    dead.services[0].backends[1].keeps = false;
    one.now += 2;
    one.install(&dead);
    one.now += 2;
    one.install(&state(0..3));
    assert_eq!(one.news().flows, []);
}
