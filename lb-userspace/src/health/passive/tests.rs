use proptest::prelude::*;

use super::*;

const RULES: Passive = Passive {
    act: PassiveAct::Eject,
    failing: 50,
    least: 10,
    eject_for: Duration::from_secs(30),
};

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn signals([tried, again, opened, resets]: [u64; 4]) -> Signals {
    Signals {
        tried,
        again,
        opened,
        resets,
    }
}

const GOOD: [u64; 4] = [20, 0, 20, 0];
const SILENT: [u64; 4] = [20, 8, 0, 0];
const RESETS: [u64; 4] = [20, 0, 20, 18];
const LOSSY: [u64; 4] = [20, 14, 20, 0];

/// A service of which looks are taken, a second from one to the next.
struct Bench {
    watch: Watch,
    rules: Passive,
    most: usize,
    spare: usize,
    down: BTreeSet<SocketAddr>,
    counters: BTreeMap<SocketAddr, Signals>,
    now: Instant,
}

impl Bench {
    fn new(rules: Passive) -> Self {
        Self {
            watch: Watch::default(),
            rules,
            most: 9,
            spare: 9,
            down: BTreeSet::new(),
            counters: BTreeMap::new(),
            now: Instant::now(),
        }
    }

    /// So many seconds in each of which this is added at the backends.
    fn run(&mut self, seconds: usize, added: &[[u64; 4]]) -> Vec<(u8, News)> {
        (0..seconds).flat_map(|_| self.second(added)).collect()
    }

    fn second(&mut self, added: &[[u64; 4]]) -> Vec<(u8, News)> {
        for (last, added) in (1..).zip(added) {
            let counters = self.counters.entry(address(last)).or_default();
            *counters = zip(*counters, signals(*added), u64::wrapping_add);
        }
        self.now += Duration::from_secs(1);
        let counters = self.counters.iter();
        let look = Look {
            service: "web",
            rules: self.rules,
            counters: counters
                .map(|(at, it)| (*at, BTreeMap::from([(7, *it)])))
                .collect(),
            down: self.down.clone(),
            most: self.most,
            spare: self.spare,
        };
        let news = self.watch.look(&look, self.now);
        let last = |address: SocketAddr| (1..=9).find(|it| address == self::address(*it));
        news.into_iter()
            .map(|(at, news)| (last(at).unwrap(), news))
            .collect()
    }
}

fn words(news: &[(u8, News)]) -> Vec<(u8, &'static str)> {
    let word = |news: &News| match news {
        News::Suspected(_) => "suspected",
        News::Trusted => "trusted",
        News::Ejected(..) => "ejected",
        News::Readmitted(_) => "readmitted",
    };
    news.iter()
        .map(|(last, news)| (*last, word(news)))
        .collect()
}

#[test]
fn one_whose_connections_do_not_open_is_told_from_the_others() {
    for (bad, text) in [
        (SILENT, "did not open"),
        (RESETS, "RSTs with"),
        (LOSSY, "had to ask again"),
    ] {
        let watch = Passive {
            act: PassiveAct::Watch,
            ..RULES
        };
        let mut bench = Bench::new(watch);
        let news = bench.run(5, &[GOOD, bad, GOOD]);
        let [(2, News::Suspected(fault))] = news[..] else {
            panic!("{news:?}");
        };
        assert!(fault.to_string().contains(text), "{fault}");
        let news = bench.run(15, &[GOOD, GOOD, GOOD]);
        assert_eq!(words(&news), [(2, "trusted")]);
    }
}

#[test]
fn what_all_suffer_from_is_nobodys_fault() {
    for all in [SILENT, LOSSY, RESETS] {
        let mut bench = Bench::new(RULES);
        assert_eq!(bench.run(30, &[all, all, all]), []);
    }
}

#[test]
fn connections_that_were_begun_just_now_may_open_yet() {
    let mut bench = Bench::new(RULES);
    bench.run(2, &[[0; 4], [0; 4]]);
    assert_eq!(bench.second(&[[90, 0, 45, 0], [90, 0, 20, 0]]), []);
    assert_eq!(bench.second(&[[0, 0, 45, 0], [0, 0, 70, 0]]), []);
}

#[test]
fn few_connections_show_nothing() {
    let mut bench = Bench::new(RULES);
    bench.run(1, &[[0; 4], [0; 4]]);
    bench.second(&[[50, 0, 50, 0], [9, 9, 0, 9]]);
    assert_eq!(bench.run(12, &[[0; 4], [0; 4]]), []);
}

#[test]
fn who_is_out_comes_back_and_goes_for_twice_as_long() {
    let mut bench = Bench::new(RULES);
    let mut out = Vec::new();
    for _ in 0..600 {
        let is_out = bench.watch.out().count() == 1;
        let bad = if is_out { [0; 4] } else { SILENT };
        for (_, news) in bench.second(&[GOOD, bad, GOOD]) {
            if let News::Ejected(_, lasts) = news {
                out.push(lasts.as_secs());
            }
        }
    }
    assert_eq!(out, [30, 60, 120, 240, 240]);
    assert_eq!(bench.watch.out().collect::<Vec<_>>(), [("web", address(2))]);
}

#[test]
fn one_that_was_good_for_long_enough_begins_anew() {
    let mut bench = Bench::new(RULES);
    let out = |news: Vec<(u8, News)>| {
        news.into_iter().find_map(|(_, it)| match it {
            News::Ejected(_, lasts) => Some(lasts.as_secs()),
            _ => None,
        })
    };
    assert_eq!(out(bench.run(5, &[GOOD, SILENT])), Some(30));
    let news = bench.run(31, &[GOOD, [0; 4]]);
    assert_eq!(words(&news), [(2, "readmitted")]);
    bench.run(60, &[GOOD, GOOD]);
    assert_eq!(out(bench.run(12, &[GOOD, SILENT])), Some(30));
}

#[test]
fn nobody_goes_who_has_nobody_to_be_compared_with() {
    let mut bench = Bench::new(RULES);
    assert_eq!(words(&bench.run(9, &[SILENT])), [(1, "suspected")]);
}

#[test]
fn rules_that_do_not_eject_any_more_readmit() {
    let mut bench = Bench::new(RULES);
    bench.run(5, &[GOOD, SILENT]);
    assert_eq!(bench.watch.out().count(), 1);
    bench.rules.act = PassiveAct::Probe;
    assert_eq!(words(&bench.second(&[GOOD, [0; 4]])), [(2, "readmitted")]);
}

#[test]
fn resets_alone_take_nobody_out() {
    let mut bench = Bench::new(RULES);
    assert_eq!(
        words(&bench.run(9, &[GOOD, RESETS, GOOD])),
        [(2, "suspected")]
    );
}

#[test]
fn who_gets_nothing_any_more_is_not_better_for_that() {
    let mut bench = Bench::new(Passive {
        act: PassiveAct::Probe,
        ..RULES
    });
    assert_eq!(words(&bench.run(9, &[GOOD, SILENT])), [(2, "suspected")]);
    assert_eq!(bench.run(30, &[GOOD, [0; 4]]), []);
    assert_eq!(words(&bench.run(9, &[GOOD, GOOD])), [(2, "trusted")]);
}

#[test]
fn the_worst_goes_first_and_comes_back_where_others_die() {
    let mut bench = Bench {
        spare: 1,
        ..Bench::new(RULES)
    };
    let bad = [20, 0, 9, 0];
    let news = bench.run(9, &[bad, SILENT, GOOD, GOOD, GOOD]);
    let out: Vec<_> = bench.watch.out().collect();
    assert_eq!(out, [("web", address(2))], "{news:?}");
    bench.spare = 0;
    let news = bench.second(&[GOOD, [0; 4], GOOD, GOOD, GOOD]);
    assert_eq!(
        news.last(),
        Some(&(2, News::Readmitted(Why::Needed))),
        "{news:?}"
    );
}

#[test]
fn who_is_down_already_is_not_taken_out() {
    let mut bench = Bench::new(RULES);
    bench.down = BTreeSet::from([address(2)]);
    assert_eq!(words(&bench.run(9, &[GOOD, SILENT])), [(2, "suspected")]);
    bench.down.clear();
    bench.most = 0;
    bench.run(9, &[GOOD, SILENT]);
    assert_eq!(bench.watch.out().count(), 0);
}

#[test]
fn who_is_not_watched_any_more_is_told_of() {
    let mut bench = Bench::new(RULES);
    bench.run(5, &[GOOD, SILENT]);
    assert_eq!(bench.watch.retain(|_| true), []);
    assert_eq!(
        bench.watch.retain(|_| false),
        [("web".to_owned(), address(2))]
    );
}

#[test]
fn what_a_pair_had_counted_before_is_none_of_its_own() {
    let mut backend = Backend::default();
    let mut look = |counters: &[(u32, [u64; 4])]| {
        let counters = counters.iter().map(|(pair, it)| (*pair, signals(*it)));
        backend.take(&counters.collect());
        backend.looks.back().map(|look| look.tried).unwrap()
    };
    assert_eq!(look(&[(7, [900; 4])]), 0);
    assert_eq!(look(&[(7, [905; 4])]), 5);
    assert_eq!(look(&[(7, [906; 4]), (9, [400; 4])]), 1);
    assert_eq!(look(&[(9, [402; 4])]), 2);
    // It is another backend's meanwhile.
    assert_eq!(look(&[(9, [1; 4])]), 0);
    assert_eq!(look(&[(9, [2; 4])]), 1);
}

proptest! {
    #[test]
    fn never_more_are_out_than_may_be(
        most in 0_usize..4,
        spare in 0_usize..4,
        down in prop::collection::btree_set(1_u8..5, 0..3),
        seconds in prop::collection::vec(prop::collection::vec(prop::array::uniform4(0_u64..40), 4), 1..60),
    ) {
        let mut bench = Bench { most, spare, ..Bench::new(RULES) };
        bench.down = down.iter().map(|last| address(*last)).collect();
        for added in seconds {
            bench.second(&added);
            let ejected = bench.watch.out().count();
            prop_assert!(ejected == 0 || down.len() + ejected <= most);
            prop_assert!(ejected <= spare);
        }
    }
}
