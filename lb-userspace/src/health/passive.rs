//! Backends of which clients' packets show that something is wrong, beside what probes say.
//!
//! A backend is judged by the last seconds, and by what the others of its service show at the same time: a flood of
//! SYNs from nobody, or a network that loses packets, looks the same at all of them. Who is suspected may be asked at once
//! by its probe, or gets no new flows for a time; those that it has stay.
//!
//! Pure: counters and instants are handed in.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    net::SocketAddr,
    time::Duration,
};

use lb_common::counters::Signals;
use tokio::time::Instant;

use crate::config::model::{Passive, PassiveAct};

/// Looks that are gone by; one is taken every second.
const WINDOW: usize = 10;
/// Times `eject_for` that one is out at most: the time doubles where the fault is back as soon.
const MOST_TIMES: u32 = 8;

/// The backends of all services that are watched.
#[derive(Debug, Default)]
pub struct Watch(HashMap<String, BTreeMap<SocketAddr, Backend>>);

/// What is to be seen of a service.
#[derive(Debug)]
pub struct Look<'a> {
    /// Its name.
    pub service: &'a str,
    /// What it goes by.
    pub rules: Passive,
    /// The counters of each of its backends, by pair.
    pub counters: Vec<(SocketAddr, BTreeMap<u32, Signals>)>,
    /// How many backends may get no flows, beside those that are down.
    pub room: usize,
}

/// What is known of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What is wrong, as it was when that was found.
    pub fault: Option<Fault>,
    /// Until when it gets no new flows.
    pub out_until: Option<Instant>,
}

/// What became of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is suspected.
    Suspected(Fault),
    /// It is not any more.
    Trusted,
    /// It gets no new flows for so long.
    Ejected(Fault, Duration),
    /// It does again.
    Readmitted,
}

impl Watch {
    /// Takes a look at a service; what became of its backends.
    pub fn look(&mut self, look: Look<'_>, now: Instant) -> Vec<(SocketAddr, News)> {
        let mut before = self.0.remove(look.service).unwrap_or_default();
        let mut backends = BTreeMap::new();
        for (address, counters) in look.counters {
            let mut backend = before.remove(&address).unwrap_or_default();
            backend.take(counters);
            backends.insert(address, backend);
        }
        let news = judge(&mut backends, look.rules, look.room, now);
        self.0.insert(look.service.to_owned(), backends);
        news
    }

    /// Forgets services that are not watched any more.
    pub fn retain(&mut self, is_watched: impl Fn(&str) -> bool) {
        self.0.retain(|service, _| is_watched(service));
    }

    /// What is known of a backend.
    #[must_use]
    pub fn of(&self, service: &str, address: SocketAddr) -> Standing {
        let backend = self.0.get(service).and_then(|it| it.get(&address));
        backend.map_or_else(Standing::default, |backend| Standing {
            fault: backend.fault,
            out_until: backend.ejection.map(|ejection| ejection.until),
        })
    }

    /// The backends that get no new flows.
    pub fn out(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.0.iter().flat_map(|(service, backends)| {
            let out = backends.iter().filter(|(_, it)| it.ejection.is_some());
            out.map(|(address, _)| (service.as_str(), *address))
        })
    }
}

/// A backend that is watched.
#[derive(Debug, Default)]
struct Backend {
    /// As they stood at the last look.
    counters: BTreeMap<u32, Signals>,
    /// What was added from look to look, the latest last.
    looks: VecDeque<Signals>,
    fault: Option<Fault>,
    ejection: Option<Ejection>,
    /// How it was out the last time.
    before: Option<Ejection>,
}

/// A time without new flows.
#[derive(Clone, Copy, Debug)]
struct Ejection {
    lasts: Duration,
    until: Instant,
}

impl Backend {
    /// Takes counters as they are now. What a pair had counted before it was this backend's is none of its own.
    fn take(&mut self, counters: BTreeMap<u32, Signals>) {
        let mut added = Signals::default();
        for (pair, now) in &counters {
            let before = self.counters.get(pair).unwrap_or(now);
            added = zip(
                added,
                zip(*now, *before, u64::saturating_sub),
                u64::saturating_add,
            );
        }
        self.counters = counters;
        self.looks.push_back(added);
        if self.looks.len() > WINDOW {
            self.looks.pop_front();
        }
    }

    /// What the last looks showed, but for connections that were begun since the one before: those may open yet.
    fn lately(&self) -> Signals {
        let latest_first = self.looks.iter().rev().enumerate();
        latest_first.fold(Signals::default(), |sum, (age, look)| {
            let tried = if age == 0 { 0 } else { look.tried };
            zip(sum, Signals { tried, ..*look }, u64::saturating_add)
        })
    }

    /// Takes it back where its time is over, to be judged by what comes then.
    fn readmit(&mut self, rules: Passive, now: Instant) -> Option<News> {
        let ejection = self.ejection?;
        if now < ejection.until && rules.act == PassiveAct::Eject {
            return None;
        }
        self.looks.clear();
        (self.ejection, self.before, self.fault) = (None, Some(ejection), None);
        Some(News::Readmitted)
    }

    /// Takes note of what is wrong with it now.
    const fn suspect(&mut self, fault: Option<Fault>) -> Option<News> {
        let before = self.fault;
        if before.is_some() != fault.is_some() {
            self.fault = fault;
        }
        match (before, fault) {
            (None, Some(fault)) => Some(News::Suspected(fault)),
            (Some(_), None) => Some(News::Trusted),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }

    /// Lets it have no new flows: twice as long as before, where it was taken back no longer ago than that.
    fn eject(&mut self, fault: Fault, rules: Passive, now: Instant) -> News {
        let most = rules.eject_for.saturating_mul(MOST_TIMES);
        let again = self.before.filter(|it| now < it.until + it.lasts);
        let lasts = again.map_or(rules.eject_for, |it| it.lasts.saturating_mul(2).min(most));
        let until = now + lasts;
        self.ejection = Some(Ejection { lasts, until });
        News::Ejected(fault, lasts)
    }
}

/// What becomes of the backends of a service.
fn judge(
    backends: &mut BTreeMap<SocketAddr, Backend>,
    rules: Passive,
    room: usize,
    now: Instant,
) -> Vec<(SocketAddr, News)> {
    let mut news = Vec::new();
    for (address, backend) in &mut *backends {
        news.extend(backend.readmit(rules, now).map(|it| (*address, it)));
    }
    let sum = |all, (_, it): (_, &Backend)| zip(all, it.lately(), u64::saturating_add);
    let all = backends.iter().fold(Signals::default(), sum);
    let mut out = backends.values().filter(|it| it.ejection.is_some()).count();
    for (address, backend) in backends {
        // It gets no connections that it could be judged by.
        if backend.ejection.is_some() {
            continue;
        }
        let own = backend.lately();
        let others = zip(all, own, u64::saturating_sub);
        let fault = fault(own, others, rules);
        news.extend(backend.suspect(fault).map(|it| (*address, it)));
        let is_to_go = |fault: &Fault| rules.act == PassiveAct::Eject && fault.is_certain(rules);
        if let Some(fault) = fault.filter(is_to_go).filter(|_| out < room) {
            out += 1;
            news.push((*address, backend.eject(fault, rules, now)));
        }
    }
    news
}

/// What is wrong with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    sign: Sign,
    own: Rate,
    others: Rate,
}

/// What shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// Connections do not open.
    Unopened,
    /// Clients have to send their SYNs again.
    Again,
    /// It resets connections.
    Resets,
}

/// How many of how many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    bad: u64,
    of: u64,
}

impl Rate {
    const fn of(sign: Sign, signals: Signals) -> Self {
        let Signals {
            tried,
            again,
            opened,
            resets,
        } = signals;
        let bad = match sign {
            Sign::Unopened => tried.saturating_sub(opened),
            Sign::Again => again,
            Sign::Resets => resets,
        };
        Self { bad, of: tried }
    }

    /// Whether it is at least this part, of so many connections or more.
    const fn reaches(self, percent: u32, least: u32) -> bool {
        let (bad, of) = (self.bad as u128, self.of as u128);
        self.bad >= 1 && self.of >= least as u64 && bad * 100 >= of * percent as u128
    }

    /// Whether it is at least twice another one.
    const fn is_twice(self, other: Self) -> bool {
        let own = self.bad as u128 * other.of as u128;
        own >= 2 * other.bad as u128 * self.of as u128
    }
}

/// What the packets of a backend show to be wrong with it: many connections suffer, and those of the others do not.
fn fault(own: Signals, others: Signals, rules: Passive) -> Option<Fault> {
    let signs = [Sign::Unopened, Sign::Again, Sign::Resets].into_iter();
    let mut faults = signs.map(|sign| Fault {
        sign,
        own: Rate::of(sign, own),
        others: Rate::of(sign, others),
    });
    faults.find(|fault| {
        fault.own.reaches(rules.failing, rules.least) && fault.own.is_twice(fault.others)
    })
}

impl Fault {
    /// Whether enough is known of the others to say that they are better.
    const fn is_certain(self, rules: Passive) -> bool {
        self.others.of >= rules.least as u64
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sign, own, others } = self;
        let what = match sign {
            Sign::Unopened => "did not open",
            Sign::Again => "had to ask again",
            Sign::Resets => "were reset by it",
        };
        write!(f, "{} of {} connections {what}", own.bad, own.of)?;
        write!(f, ", {} of {} at the others", others.bad, others.of)
    }
}

fn zip(one: Signals, other: Signals, by: impl Fn(u64, u64) -> u64) -> Signals {
    Signals {
        tried: by(one.tried, other.tried),
        again: by(one.again, other.again),
        opened: by(one.opened, other.opened),
        resets: by(one.resets, other.resets),
    }
}

#[cfg(test)]
mod tests {
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
        room: usize,
        counters: BTreeMap<SocketAddr, Signals>,
        now: Instant,
    }

    impl Bench {
        fn new(rules: Passive, room: usize) -> Self {
            Self {
                watch: Watch::default(),
                rules,
                room,
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
                room: self.room,
            };
            let news = self.watch.look(look, self.now);
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
            News::Readmitted => "readmitted",
        };
        news.iter()
            .map(|(last, news)| (*last, word(news)))
            .collect()
    }

    #[test]
    fn one_whose_connections_do_not_open_is_told_from_the_others() {
        for (bad, text) in [
            (SILENT, "did not open"),
            (RESETS, "were reset by it"),
            (LOSSY, "had to ask again"),
        ] {
            let watch = Passive {
                act: PassiveAct::Watch,
                ..RULES
            };
            let mut bench = Bench::new(watch, 9);
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
            let mut bench = Bench::new(RULES, 9);
            assert_eq!(bench.run(30, &[all, all, all]), []);
        }
    }

    #[test]
    fn connections_that_were_begun_just_now_may_open_yet() {
        let mut bench = Bench::new(RULES, 9);
        bench.run(2, &[[0; 4], [0; 4]]);
        assert_eq!(bench.second(&[[90, 0, 45, 0], [90, 0, 20, 0]]), []);
        assert_eq!(bench.second(&[[0, 0, 45, 0], [0, 0, 70, 0]]), []);
    }

    #[test]
    fn few_connections_show_nothing() {
        let mut bench = Bench::new(RULES, 9);
        bench.run(1, &[[0; 4], [0; 4]]);
        bench.second(&[[50, 0, 50, 0], [9, 9, 0, 9]]);
        assert_eq!(bench.run(12, &[[0; 4], [0; 4]]), []);
    }

    #[test]
    fn who_is_out_comes_back_and_goes_for_twice_as_long() {
        let mut bench = Bench::new(RULES, 9);
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
        let mut bench = Bench::new(RULES, 9);
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
        let mut bench = Bench::new(RULES, 9);
        assert_eq!(words(&bench.run(9, &[SILENT])), [(1, "suspected")]);
    }

    #[test]
    fn rules_that_do_not_eject_any_more_readmit() {
        let mut bench = Bench::new(RULES, 9);
        bench.run(5, &[GOOD, SILENT]);
        assert_eq!(bench.watch.out().count(), 1);
        bench.rules.act = PassiveAct::Probe;
        assert_eq!(words(&bench.second(&[GOOD, [0; 4]])), [(2, "readmitted")]);
    }

    #[test]
    fn what_a_pair_had_counted_before_is_none_of_its_own() {
        let mut backend = Backend::default();
        let mut look = |counters: &[(u32, [u64; 4])]| {
            let counters = counters.iter().map(|(pair, it)| (*pair, signals(*it)));
            backend.take(counters.collect());
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
            room in 0_usize..4,
            seconds in prop::collection::vec(prop::collection::vec(prop::array::uniform4(0_u64..40), 4), 1..60),
        ) {
            let mut bench = Bench::new(RULES, room);
            for added in seconds {
                bench.second(&added);
                prop_assert!(bench.watch.out().count() <= room);
            }
        }
    }
}
