//! Backends of which clients' packets show that something is wrong, beside what probes say.
//!
//! A backend is judged by the last seconds, and by what the others of its service show at the same time: a flood of
//! SYNs from nobody, or a network that loses packets, looks the same at all of them. Who is suspected may be asked at once
//! by its probe, or gets no new flows for a time; those that it has stay.
//!
//! Pure: counters and instants are handed in.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
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
pub struct Watch {
    services: HashMap<String, BTreeMap<SocketAddr, Backend>>,
    /// Whether others get no new flows than the data path was told.
    unsettled: bool,
}

/// What is to be seen of a service.
#[derive(Debug)]
pub struct Look<'a> {
    /// Its name.
    pub service: &'a str,
    /// What it goes by.
    pub rules: Passive,
    /// The counters of each of its backends, by pair.
    pub counters: Vec<(SocketAddr, BTreeMap<u32, Signals>)>,
    /// Backends that get no flows for what probes say.
    pub down: BTreeSet<SocketAddr>,
    /// How many may get none, those included.
    pub most: usize,
    /// How many of those that could get flows the service can do without.
    pub spare: usize,
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
    Readmitted(Why),
}

/// Why a backend gets new flows again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// To see whether it is better.
    TimeIsOver,
    /// The configuration does not want it out any more.
    Rules,
    /// Too few others are left.
    Needed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimeIsOver => "its time is over",
            Self::Rules => "the configuration does not eject it any more",
            Self::Needed => "too few others are left",
        })
    }
}

impl Watch {
    /// Takes a look at a service; what became of its backends.
    pub fn look(&mut self, look: &Look<'_>, now: Instant) -> Vec<(SocketAddr, News)> {
        let mut before = self.services.remove(look.service).unwrap_or_default();
        let mut backends = BTreeMap::new();
        for (address, counters) in &look.counters {
            let mut backend = before.remove(address).unwrap_or_default();
            backend.take(counters);
            backends.insert(*address, backend);
        }
        let news = judge(&mut backends, look, now);
        self.services.insert(look.service.to_owned(), backends);
        let is_unsettling = |news: &News| matches!(news, News::Ejected(..) | News::Readmitted(_));
        self.unsettled |= news.iter().any(|(_, it)| is_unsettling(it));
        news
    }

    /// Forgets services that are not watched any more; which of their backends got no new flows.
    pub fn retain(&mut self, is_watched: impl Fn(&str) -> bool) -> Vec<(String, SocketAddr)> {
        let gone = self.services.extract_if(|service, _| !is_watched(service));
        let out = gone.flat_map(|(service, backends)| {
            let out = backends.into_iter().filter(|(_, it)| it.ejection.is_some());
            out.map(move |(address, _)| (service.clone(), address))
        });
        out.collect()
    }

    /// Whether the data path is to be told who gets no new flows; once.
    pub const fn take_unsettled(&mut self) -> bool {
        std::mem::replace(&mut self.unsettled, false)
    }

    /// It was not told, and is to be.
    pub const fn set_unsettled(&mut self) {
        self.unsettled = true;
    }

    /// What is known of a backend.
    #[must_use]
    pub fn of(&self, service: &str, address: SocketAddr) -> Standing {
        let backend = self.services.get(service).and_then(|it| it.get(&address));
        backend.map_or_else(Standing::default, |backend| Standing {
            fault: backend.fault,
            out_until: backend.ejection.map(|ejection| ejection.until),
        })
    }

    /// The backends that get no new flows.
    pub fn out(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.services.iter().flat_map(|(service, backends)| {
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
    fn take(&mut self, counters: &BTreeMap<u32, Signals>) {
        let mut added = Signals::default();
        for (pair, now) in counters {
            let before = self.counters.get(pair).unwrap_or(now);
            added = zip(
                added,
                zip(*now, *before, u64::saturating_sub),
                u64::saturating_add,
            );
        }
        self.counters.clone_from(counters);
        self.looks.push_back(added);
        if self.looks.len() > WINDOW {
            self.looks.pop_front();
        }
    }

    /// What the last looks showed. Connections that were begun since the one before may open yet: they count as open.
    fn lately(&self) -> Signals {
        let all = self.looks.iter();
        let sum = all.fold(Signals::default(), |sum, look| {
            zip(sum, *look, u64::saturating_add)
        });
        let latest = self.looks.back().copied().unwrap_or_default();
        let waiting = latest.tried.saturating_sub(latest.opened);
        Signals {
            opened: sum.opened.saturating_add(waiting),
            ..sum
        }
    }

    /// Takes it back, to be judged by what comes then.
    fn readmit(&mut self, why: Why) -> News {
        self.looks.clear();
        (self.before, self.ejection, self.fault) = (self.ejection, None, None);
        News::Readmitted(why)
    }

    /// Why it is to be taken back, if it is.
    fn is_due(&self, rules: Passive, now: Instant) -> Option<Why> {
        let ejection = self.ejection?;
        if rules.act == PassiveAct::Eject {
            (now >= ejection.until).then_some(Why::TimeIsOver)
        } else {
            Some(Why::Rules)
        }
    }

    /// Takes note of what is wrong with it now. Who gets too few connections to be judged by is no better for that.
    const fn suspect(&mut self, fault: Option<Fault>, is_judged: bool) -> Option<News> {
        match (self.fault, fault) {
            (None, Some(fault)) => {
                self.fault = Some(fault);
                Some(News::Suspected(fault))
            }
            (Some(_), None) if is_judged => {
                self.fault = None;
                Some(News::Trusted)
            }
            (None | Some(_), None) | (Some(_), Some(_)) => None,
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
    look: &Look<'_>,
    now: Instant,
) -> Vec<(SocketAddr, News)> {
    let rules = look.rules;
    let mut news = Vec::new();
    for (address, backend) in &mut *backends {
        if let Some(why) = backend.is_due(rules, now) {
            news.push((*address, backend.readmit(why)));
        }
    }
    make_room(backends, look, &mut news);
    let sum = |all, (_, it): (_, &Backend)| zip(all, it.lately(), u64::saturating_add);
    let all = backends.iter().fold(Signals::default(), sum);
    let mut to_go = Vec::new();
    for (address, backend) in &mut *backends {
        // It gets no connections that it could be judged by.
        if backend.ejection.is_some() {
            continue;
        }
        let own = backend.lately();
        let others = zip(all, own, u64::saturating_sub);
        let fault = fault(own, others, rules);
        let is_judged = own.tried >= rules.least.into();
        let it = backend.suspect(fault, is_judged);
        news.extend(it.map(|it| (*address, it)));
        let may_go = rules.act == PassiveAct::Eject && !look.down.contains(address);
        let to_eject = fault.filter(|fault| may_go && fault.is_certain(rules));
        to_go.extend(to_eject.map(|fault| (*address, fault)));
    }
    to_go.sort_by_key(|(_, fault)| Reverse(fault.own.per_mille()));
    for (address, fault) in to_go {
        let has_room = out(backends, look) < look.most && ejected(backends, look) < look.spare;
        if let Some(backend) = backends.get_mut(&address).filter(|_| has_room) {
            news.push((address, backend.eject(fault, rules, now)));
        }
    }
    news
}

/// Takes back who was ejected last, while more are out than may be.
fn make_room(
    backends: &mut BTreeMap<SocketAddr, Backend>,
    look: &Look<'_>,
    news: &mut Vec<(SocketAddr, News)>,
) {
    while out(backends, look) > look.most || ejected(backends, look) > look.spare {
        let able = |(address, it): &(&SocketAddr, &mut Backend)| {
            it.ejection.is_some() && !look.down.contains(address)
        };
        let ejected = backends.iter_mut().filter(able);
        let latest = ejected.max_by_key(|(_, it)| it.ejection.map(|it| it.until));
        let Some((address, backend)) = latest else {
            return;
        };
        news.push((*address, backend.readmit(Why::Needed)));
    }
}

/// How many get no new flows.
fn out(backends: &BTreeMap<SocketAddr, Backend>, look: &Look<'_>) -> usize {
    look.down.len() + ejected(backends, look)
}

/// How many of those that are not down get no new flows.
fn ejected(backends: &BTreeMap<SocketAddr, Backend>, look: &Look<'_>) -> usize {
    let out = backends.iter().filter(|(_, it)| it.ejection.is_some());
    out.filter(|(address, _)| !look.down.contains(address))
        .count()
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

    fn per_mille(self) -> u128 {
        u128::from(self.bad) * 1000 / u128::from(self.of.max(1))
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
    /// Whether nobody can have made it look so, and enough is known of the others to say that they are better. A client
    /// has a backend send as many RSTs as it likes.
    fn is_certain(self, rules: Passive) -> bool {
        self.sign != Sign::Resets && self.others.of >= rules.least.into()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sign, own, others } = self;
        let what = match sign {
            Sign::Unopened => "did not open",
            Sign::Again => "had to ask again",
            Sign::Resets => {
                write!(f, "{} RSTs with {} new connections", own.bad, own.of)?;
                return write!(f, ", {} with {} at the others", others.bad, others.of);
            }
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
mod tests;
