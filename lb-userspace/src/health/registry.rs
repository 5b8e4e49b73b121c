//! Who is asked on whose behalf: targets, the questions they share, and the state of each.
//!
//! Invariant: a question is asked if and only if at least one target subscribes to it; a target
//! subscribes to exactly one. Pure but for the instants it is handed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Outcome,
    damping::Penalty,
    feedback::{Advice, Advised},
    guards::{Guarded, Guards, Held},
    machine::{Health, Machine, Pace, Streak, Thresholds, Transition},
    probe::{Answer, Asked},
    recent::Recent,
    schedule::Paces,
};
use crate::{config::model, slot_table::Part};

/// A backend of a service that is to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The service's name.
    pub service: String,
    /// Where the backend listens.
    pub backend: SocketAddr,
    /// How it is probed.
    pub probe: model::Probe,
    /// Where else than at the backend's own address, and from where.
    pub via: Option<Via>,
    /// The most backends of its service that may be out at a time.
    pub most_out: usize,
    /// Its state before the first probe: [`Health::Unknown`], or the installed one when it is adopted.
    /// Without effect on a target that is already probed.
    pub initial: Health,
    /// When it is kept out because it falls again and again.
    pub damping: Option<model::Damping>,
}

/// A way to a backend through the data path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Via {
    /// The VIP.
    pub vip: SocketAddr,
    /// An address of this host, and the port that names the backend.
    pub from: SocketAddr,
    /// Bytes of the longest packet that should arrive there.
    pub full: u16,
}

/// The end of a probe, as one service sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The service's name: that of all its targets.
    pub service: Arc<str>,
    /// Where the backend listens.
    pub backend: SocketAddr,
    /// The change that it made.
    pub transition: Option<Transition>,
    /// Why it made none, although it was to; told once.
    pub held: Option<Held>,
    /// Whether it is kept out from now on because it fell too often, or not any more.
    pub suppressed: Option<bool>,
    /// Whether it may take flows from now on: it came up, or is not kept out any more.
    pub rises: bool,
    /// How much it takes from now on, where that is something else, as it says so.
    pub advised: Option<Part>,
    /// How long it had been in the state before.
    pub lasted: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// From the question to the answer or to giving up.
    pub latency: Duration,
    /// How much later than it was due it began: that of this host, and none of the backend's.
    pub late: Duration,
    /// When it ended.
    pub at: Instant,
}

impl Event {
    /// Whether it changed anything.
    pub(super) const fn is_news(&self) -> bool {
        self.transition.is_some()
            || self.held.is_some()
            || self.suppressed.is_some()
            || self.advised.is_some()
            || self.rises
    }
}

/// What is known of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The service's name.
    pub service: String,
    /// Where the backend listens.
    pub backend: SocketAddr,
    /// Its state.
    pub health: Health,
    /// Why it is up although it failed often enough.
    pub held: Option<Held>,
    /// What falling has brought it, where that is counted.
    pub penalty: Option<Penalty>,
    /// How much it says that it is good for, where it is asked.
    pub advised: Option<Advised>,
    /// Since when: the last change, or the beginning of its probing.
    pub since: Instant,
    /// The word for the kind of probe.
    pub kind: &'static str,
    /// Equal outcomes up to the last one.
    pub streak: Streak,
    /// The last probe; `None` before the first has ended.
    pub last: Option<Last>,
}

impl Report {
    /// Whether it is kept out because it fell too often.
    #[must_use]
    pub fn is_suppressed(&self) -> bool {
        self.penalty.is_some_and(|penalty| penalty.is_suppressed())
    }
}

/// The last probe of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// How it ended.
    pub outcome: Outcome,
    /// From the question to the answer or to giving up.
    pub latency: Duration,
    /// What the backend said it is good for.
    pub advice: Option<Advice>,
    /// When it ended.
    pub at: Instant,
}

/// The states of the targets of a service, in the order of their addresses.
#[derive(Clone, Debug, Default)]
pub struct ServiceHealth(Vec<(SocketAddr, Health)>);

impl ServiceHealth {
    /// The state of a target; `None` where there is none.
    #[must_use]
    pub fn of(&self, backend: SocketAddr) -> Option<Health> {
        let Self(states) = self;
        let place = states.binary_search_by_key(&backend, |(backend, _)| *backend);
        let (_, health) = states.get(place.ok()?)?;
        Some(*health)
    }
}

/// What is asked once for all targets that want it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    /// Shared: there may be ten thousand, each known in several places.
    pub(super) asked: Arc<Asked>,
    pub(super) paces: Paces,
}

/// By the address alone: there is hardly more than one for an address, and each is looked up with every probe.
impl Hash for Question {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.asked.address.hash(hasher);
        self.asked.from.hash(hasher);
    }
}

impl From<&Target> for Question {
    fn from(target: &Target) -> Self {
        let model::Probe {
            check,
            port,
            interval,
            fast_interval,
            down_interval,
            max_interval,
            timeout,
            rise: _,
            fall: _,
            start: _,
            feedback,
            via_vip: _,
        } = &target.probe;
        let port = port.unwrap_or_else(|| target.backend.port());
        let own = SocketAddr::new(target.backend.ip(), port);
        Self {
            asked: Arc::new(Asked {
                address: target.via.map_or(own, |via| via.vip),
                from: target.via.map(|via| (via.from, via.full)),
                check: Arc::clone(check),
                adviser: feedback.as_ref().map(|feedback| feedback.adviser.clone()),
                timeout: *timeout,
            }),
            paces: Paces {
                steady: *interval,
                doubt: *fast_interval,
                down: *down_interval,
                most: *max_interval,
            },
        }
    }
}

/// What a new set of targets changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) started: BTreeSet<Question>,
    pub(super) stopped: BTreeSet<Question>,
    /// Targets that joined a question whose answer is known.
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TargetId {
    service: Arc<str>,
    backend: SocketAddr,
}

#[derive(Clone, Debug)]
struct Entry {
    question: Question,
    machine: Machine,
    since: Instant,
    probes: Recent,
    most_out: usize,
    penalty: Option<Penalty>,
    advised: Option<Advised>,
}

#[derive(Debug, Default)]
struct Subscription {
    /// Places of its targets.
    targets: Vec<usize>,
    last: Option<Last>,
}

/// All targets and questions.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// In order. With every probe some are looked at: by their place, which they keep until the set changes.
    targets: Vec<(TargetId, Entry)>,
    questions: HashMap<Question, Subscription>,
    guards: Guards,
}

impl Registry {
    /// Makes `targets` the whole set. Those that stay keep state and streak, whatever else changes.
    pub(super) fn set_targets(&mut self, targets: Vec<Target>, now: Instant) -> Changes {
        let mut before: BTreeMap<_, _> = std::mem::take(&mut self.targets).into_iter().collect();
        let mut names = HashMap::new();
        let targets = targets
            .into_iter()
            .map(|target| entry_for(target, &mut names, &mut before, now));
        let targets: BTreeMap<_, _> = targets.collect();
        self.targets = targets.into_iter().collect();
        let mut changes = self.resubscribe();
        let cut_off = self.guards.take_cut_off();
        self.guards = self.guards(cut_off);
        let places = 0..self.targets.len();
        changes.events = places
            .filter_map(|place| self.answer_from_memory(place))
            .collect();
        changes
    }

    /// What guards go by, counted anew.
    fn guards(&self, cut_off: HashSet<IpAddr>) -> Guards {
        let mut services = BTreeMap::<&str, Guarded>::new();
        for (id, entry) in &self.targets {
            let service = services.entry(&id.service).or_insert_with(|| Guarded {
                name: id.service.to_string(),
                most: entry.most_out,
                out: 0,
                hosts: Vec::new(),
            });
            service.out += usize::from(entry.is_out());
            service.hosts.push(id.backend.ip());
        }
        let mut guards = Guards::new(services.into_values(), self.targets.len(), cut_off);
        for (id, _) in self.targets.iter().filter(|(_, entry)| entry.is_silent()) {
            guards.set_silent(&id.service, true);
        }
        guards
    }

    /// These hosts are behind a link of this host's that is down.
    pub(super) fn set_cut_off(&mut self, hosts: HashSet<IpAddr>) {
        self.guards.set_cut_off(hosts);
    }

    /// Whether this host is likelier at fault than those that are silent.
    pub(super) fn suspects_the_own_path(&self) -> bool {
        self.guards.suspects_the_own_path()
    }

    /// Takes the answer to a question; one event for each target that subscribes to it, and how urgent the next answer is.
    pub(super) fn record(
        &mut self,
        question: &Question,
        answer: Answer,
        at: Instant,
    ) -> (Vec<Event>, Pace) {
        let Some(subscription) = self.questions.get_mut(question) else {
            return Default::default();
        };
        let guards = &mut self.guards;
        let Answer {
            outcome,
            latency,
            advice,
        } = answer;
        let last = Last {
            outcome,
            latency,
            advice,
            at,
        };
        subscription.last = Some(last);
        let targets = &mut self.targets;
        for place in &subscription.targets {
            if let Some((id, entry)) = targets.get(*place)
                && entry.is_silent() != outcome.is_silence()
            {
                guards.set_silent(&id.service, !entry.is_silent());
            }
        }
        let mut events = Vec::with_capacity(subscription.targets.len());
        let mut pace = None;
        for place in &subscription.targets {
            if let Some((id, entry)) = targets.get_mut(*place) {
                events.push(entry.observe(id, last, guards));
                pace = pace.max(Some(entry.machine.pace()));
            }
        }
        (events, pace.unwrap_or_default())
    }

    pub(super) fn report(&self, service: &str, backend: SocketAddr) -> Option<Report> {
        let (id, entry) = self.target(service, backend)?;
        Some(entry.report(id))
    }

    fn target(&self, service: &str, backend: SocketAddr) -> Option<&(TargetId, Entry)> {
        let place = self.targets.binary_search_by(|(id, _)| {
            let by_service = id.service.as_ref().cmp(service);
            by_service.then_with(|| id.backend.cmp(&backend))
        });
        self.targets.get(place.ok()?)
    }

    /// The states of the targets of a service.
    pub(super) fn health(&self, service: &str) -> ServiceHealth {
        let first = self
            .targets
            .partition_point(|(id, _)| *id.service < *service);
        let theirs = self.targets.iter().skip(first);
        let theirs = theirs.take_while(|(id, _)| *id.service == *service);
        let states = theirs.map(|(id, entry)| (id.backend, entry.machine.health()));
        ServiceHealth(states.collect())
    }

    /// What is asked on behalf of a target.
    pub(super) fn question(&self, service: &str, backend: SocketAddr) -> Option<Question> {
        let (_, entry) = self.target(service, backend)?;
        Some(entry.question.clone())
    }

    /// The last probes of a target, the very last one first.
    pub(super) fn probes(&self, service: &str, backend: SocketAddr) -> Vec<Last> {
        let target = self.target(service, backend);
        target.map_or_else(Vec::new, |(_, entry)| entry.probes.latest_first())
    }

    pub(super) fn reports(&self) -> Vec<Report> {
        let targets = self.targets.iter();
        targets.map(|(id, entry)| entry.report(id)).collect()
    }

    fn resubscribe(&mut self) -> Changes {
        let mut before = std::mem::take(&mut self.questions);
        let mut changes = Changes::default();
        for (place, (_, entry)) in self.targets.iter().enumerate() {
            let question = entry.question.clone();
            let subscription = self.questions.entry(question).or_insert_with(|| {
                let last = before.remove(&entry.question).map(|known| known.last);
                if last.is_none() {
                    changes.started.insert(entry.question.clone());
                }
                Subscription {
                    targets: Vec::new(),
                    last: last.flatten(),
                }
            });
            subscription.targets.push(place);
        }
        changes.stopped = before.into_keys().collect();
        changes
    }

    /// What a target without a probe of its own makes of the last answer to its question.
    fn answer_from_memory(&mut self, place: usize) -> Option<Event> {
        let (id, entry) = self.targets.get_mut(place)?;
        if entry.probes.last().is_some() {
            return None;
        }
        let last = self.questions.get(&entry.question)?.last?;
        if last.outcome.is_silence() {
            self.guards.set_silent(&id.service, true);
        }
        Some(entry.observe(id, last, &mut self.guards))
    }
}

fn entry_for(
    target: Target,
    names: &mut HashMap<String, Arc<str>>,
    before: &mut BTreeMap<TargetId, Entry>,
    now: Instant,
) -> (TargetId, Entry) {
    let question = Question::from(&target);
    let thresholds = Thresholds::new(target.probe.rise, target.probe.fall);
    let name = names.entry(target.service);
    let name = name.or_insert_with_key(|name| Arc::from(name.as_str()));
    let id = TargetId {
        service: Arc::clone(name),
        backend: target.backend,
    };
    let mut entry = before.remove(&id).unwrap_or_else(|| Entry {
        question: question.clone(),
        machine: Machine::new(target.initial, thresholds),
        since: now,
        probes: Recent::default(),
        most_out: target.most_out,
        penalty: None,
        advised: None,
    });
    entry.follow(target.damping, now);
    entry.follow_feedback(target.probe.feedback.as_ref());
    entry.most_out = target.most_out;
    entry.question = question;
    entry.machine.set_thresholds(thresholds);
    (id, entry)
}

impl Entry {
    /// Whether nothing answered the last probe.
    fn is_silent(&self) -> bool {
        let last = self.probes.last();
        last.is_some_and(|last| last.outcome.is_silence())
    }

    fn observe(&mut self, id: &TargetId, last: Last, guards: &mut Guards) -> Event {
        let Last {
            outcome,
            latency,
            advice,
            at,
        } = last;
        let hold = || guards.hold(&id.service, id.backend.ip(), outcome.is_silence());
        let (was_out, served, was_suppressed) =
            (self.is_out(), self.serves(), self.is_suppressed());
        let (was_held, was_since) = (self.machine.held(), self.since);
        let transition = self.machine.observe_unless(outcome, hold);
        if transition.is_some() {
            self.since = at;
        }
        self.count_falls(transition, at);
        if was_out != self.is_out() {
            guards.set_out(&id.service, self.is_out());
        }
        let advised = self.hear(advice, at);
        self.probes.record(last);
        let (held, suppressed) = (self.machine.held(), self.is_suppressed());
        Event {
            service: id.service.clone(),
            backend: id.backend,
            transition,
            held: held.filter(|_| held != was_held),
            suppressed: (was_suppressed != suppressed).then_some(suppressed),
            rises: !served && self.serves(),
            advised,
            lasted: at.duration_since(was_since),
            outcome,
            latency,
            late: Duration::ZERO,
            at,
        }
    }

    /// Goes by other rules; without any, nothing is counted.
    fn follow(&mut self, damping: Option<model::Damping>, now: Instant) {
        self.penalty = damping.map(|rules| {
            let mut penalty = self.penalty.unwrap_or_else(|| Penalty::new(rules, now));
            penalty.set_rules(rules, now);
            penalty
        });
    }

    /// Goes by other words of the file; who is not asked takes all.
    fn follow_feedback(&mut self, feedback: Option<&model::Feedback>) {
        self.advised = feedback.map(|feedback| {
            let mut advised = self.advised.unwrap_or_else(|| Advised::new(feedback.mode));
            advised.set_mode(feedback.mode);
            advised
        });
    }

    /// Takes what it says it is good for; how much it takes from now on, where that is something else.
    fn hear(&mut self, advice: Option<Advice>, at: Instant) -> Option<Part> {
        let advised = self.advised.as_mut()?;
        advised.hear(advice?, at).then_some(advised.used())
    }

    fn count_falls(&mut self, transition: Option<Transition>, at: Instant) {
        let falls = transition.is_some_and(|it| (it.from, it.to) == (Health::Up, Health::Down));
        if let Some(penalty) = &mut self.penalty {
            if falls {
                penalty.fell(at);
            } else {
                penalty.decay(at);
            }
        }
    }

    fn is_suppressed(&self) -> bool {
        self.penalty.is_some_and(|penalty| penalty.is_suppressed())
    }

    /// Whether it takes no flows for what probes say.
    fn is_out(&self) -> bool {
        self.machine.health() == Health::Down || self.is_suppressed()
    }

    fn serves(&self) -> bool {
        self.machine.health() == Health::Up && !self.is_suppressed()
    }

    fn report(&self, id: &TargetId) -> Report {
        Report {
            service: id.service.to_string(),
            backend: id.backend,
            health: self.machine.health(),
            held: self.machine.held(),
            penalty: self.penalty,
            advised: self.advised,
            since: self.since,
            kind: self.question.asked.check.word(),
            streak: self.machine.streak(),
            last: self.probes.last(),
        }
    }
}
