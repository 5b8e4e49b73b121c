//! Which VIPs this balancer asks routing software to announce.
//!
//! What is wished is worked out anew whenever the data path was written; the routes follow, on a task of their
//! own. They stay when the daemon ends, as the data path does, and go before it is taken down.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    time::{Duration, UNIX_EPOCH},
};

use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::{
    engine::{Engine, next_second, now},
    words,
};
use crate::{
    api::{
        Code, Error,
        types::{AnnouncementItem, BalancerChanged, BalancerRequest, BalancerVerb, VipItem},
    },
    config::model::{Announce, Config, Require, Vip},
    desired::{
        State,
        announcement::{Ability, Circumstances, Reason, Wish, abilities, settled, wishes},
        overrides::{Admin, Setting},
    },
    net::announce::{Announcer, Mark, Progress, Wanted},
};

/// How long first probes, and peers, are waited for before an address is announced without their outcome.
const FIRST_PROBES: Duration = Duration::from_secs(10);

/// How long a caller waits until the routes are what they should be.
const ROUTES: Duration = Duration::from_secs(5);

/// What is wished, and who sees to it.
#[derive(Debug, Default)]
pub(super) struct Announcement {
    options: Option<Announce>,
    abilities: Vec<Ability>,
    wishes: BTreeMap<IpAddr, Wish>,
    /// Since when an address waits for first probes, or for peers.
    waiting: BTreeMap<IpAddr, Instant>,
    /// Whether other balancers have told all that they knew, once, or were waited for long enough.
    warm: bool,
    /// Services whose backends have all been asked once: from then on their slots have flows of other
    /// balancers.
    settled: HashSet<Vip>,
    /// None before the data path is attached.
    announcer: Option<Announcer>,
}

impl Announcement {
    /// Begins with what the daemon before announced, which stays while first probes are under way, and with
    /// the services whose backends it knew.
    pub(super) fn adopt(announced: BTreeSet<IpAddr>, settled: HashSet<Vip>) -> Self {
        let wishes = announced.into_iter().map(|vip| (vip, Wish::Announce));
        Self {
            wishes: wishes.collect(),
            settled,
            ..Self::default()
        }
    }

    /// Takes what the services can do now.
    pub(super) fn take(&mut self, config: &Config, state: &State) {
        self.options = config.announce;
        if self.options.is_none() {
            self.abilities.clear();
            return self.settled.clear();
        }
        self.abilities = abilities(config, state);
        let known: HashSet<Vip> = state.services.iter().map(|service| service.vip).collect();
        self.settled.retain(|vip| known.contains(vip));
        self.settled.extend(settled(state));
    }

    /// Services whose slots have flows of other balancers.
    pub(super) const fn settled(&self) -> &HashSet<Vip> {
        &self.settled
    }

    /// Works out anew what is wished. `untold`: other balancers have not told yet what they know.
    fn judge(&mut self, drained: bool, untold: bool, now: Instant) {
        let announced = self
            .wishes
            .iter()
            .filter(|(_, wish)| **wish == Wish::Announce);
        let overdue = self.waiting.iter();
        let overdue = overdue.filter(|(_, since)| now.duration_since(**since) >= FIRST_PROBES);
        let (announced, overdue): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) = (
            announced.map(|(vip, _)| *vip).collect(),
            overdue.map(|(vip, _)| *vip).collect(),
        );
        let circumstances = Circumstances {
            require: self.options.map_or(Require::All, |options| options.require),
            drained,
            announced: &announced,
            overdue: &overdue,
        };
        let mut wishes = wishes(&self.abilities, circumstances);
        self.warm |= !untold || !overdue.is_empty();
        let untold = !self.warm;
        for (vip, wish) in &mut wishes {
            if untold && !announced.contains(vip) && *wish == Wish::Announce {
                *wish = Wish::Withdraw(Reason::Untold);
            }
        }
        tell(&self.wishes, &wishes);
        for (vip, wish) in &wishes {
            if matches!(wish, Wish::Withdraw(Reason::Unsettled(_) | Reason::Untold)) {
                self.waiting.entry(*vip).or_insert(now);
            }
        }
        let unsettled = |vip: &IpAddr| {
            let mut abilities = self.abilities.iter();
            abilities.any(|ability| ability.address == *vip && ability.unsettled)
        };
        self.waiting.retain(|vip, _| untold || unsettled(vip));
        self.wishes = wishes;
    }

    fn wanted(&self) -> Wanted {
        let wished = self.wishes.iter();
        let wished = wished.filter(|(_, wish)| **wish == Wish::Announce);
        Wanted {
            place: self.options.map(|options| (mark(options), options.metric)),
            addresses: wished.map(|(vip, _)| *vip).collect(),
        }
    }

    /// Waits until the routes are what they should be, or it is known why not.
    async fn carried_out(&self) -> Progress {
        let Some(announcer) = &self.announcer else {
            return Progress::default();
        };
        let settled = timeout(ROUTES, announcer.settled()).await;
        settled.unwrap_or_else(|_too_long| announcer.progress())
    }

    fn progress(&self) -> Progress {
        let progress = self.announcer.as_ref().map(Announcer::progress);
        progress.unwrap_or_default()
    }
}

/// What tells this configuration's routes from others.
pub(super) const fn mark(options: Announce) -> Mark {
    Mark {
        table: options.table,
        protocol: options.protocol,
    }
}

/// Says what is wished differently than before.
fn tell(before: &BTreeMap<IpAddr, Wish>, wishes: &BTreeMap<IpAddr, Wish>) {
    for (vip, wish) in wishes {
        if before.get(vip) == Some(wish) {
            continue;
        }
        match wish {
            Wish::Announce => info!(%vip, "VIP is announced"),
            Wish::Withdraw(reason @ Reason::NoBackend(_)) => {
                warn!(%vip, %reason, "VIP is not announced");
            }
            Wish::Withdraw(reason) => info!(%vip, %reason, "VIP is not announced"),
        }
    }
    for vip in before.keys().filter(|vip| !wishes.contains_key(vip)) {
        info!(%vip, reason = "no service of it", "VIP is not announced");
    }
}

impl Engine {
    /// Lets the routes follow from now on.
    pub(super) fn start_announcing(&mut self) {
        self.review_announcement();
        let marks = self.marks();
        let wanted = self.announcement.wanted();
        self.announcement.announcer = Some(Announcer::start(marks, wanted));
    }

    /// Works out what is to be announced; the routes follow.
    pub(super) fn review_announcement(&mut self) {
        let drained = self.saved.balancer.is_some();
        let untold = self.peering.waits();
        self.announcement.judge(drained, untold, Instant::now());
        if let Some(announcer) = &self.announcement.announcer {
            announcer.want(self.announcement.wanted());
        }
    }

    /// The same, where an address waits for first probes, or for peers: that ends by itself.
    pub(super) fn review_what_waits(&mut self) {
        if !self.announcement.waiting.is_empty() {
            self.review_announcement();
        }
    }

    /// Where routes of this instance may be.
    pub(super) fn marks(&self) -> BTreeSet<Mark> {
        let mut marks = match &self.announcement.announcer {
            Some(announcer) => announcer.progress().marks,
            None => self.saved.marks.clone(),
        };
        marks.extend(self.effective.config.announce.map(mark));
        marks
    }

    /// Takes this balancer out of routing, or back in: what arrives is forwarded all the while.
    pub(super) async fn administer(
        &mut self,
        request: &BalancerRequest,
    ) -> Result<BalancerChanged, Error> {
        let undoes = request.verb == BalancerVerb::Ready && self.saved.balancer.is_some();
        if self.config.announce.is_none() && !undoes {
            return Err(nothing_to_drain());
        }
        let expires = request.for_seconds.map(|lasts| next_second() + lasts);
        let by_hand = setting(request.verb, expires);
        let before = self.saved.balancer;
        let changed = before != by_hand;
        if changed {
            self.saved.balancer = by_hand;
            self.saved.revision += 1;
            // First: a daemon that dies in between is followed by one that knows.
            self.save()?;
            self.review_announcement();
        }
        let progress = self.announcement.carried_out().await;
        if let Some(problem) = progress.problem {
            return Err(
                Error::new(Code::Failed, problem).hint("`xlb status` says when it is mended")
            );
        }
        Ok(BalancerChanged {
            verb: request.verb.word().to_owned(),
            changed,
            revision: self.saved.revision,
            announced: progress.announced.into_keys().collect(),
            expires_in_seconds: request.for_seconds.filter(|_| changed),
            undo: changed.then(|| undo(before)),
        })
    }

    /// Ends what was set by hand for this balancer for a while, where its time is over.
    pub(super) fn expire_drain(&mut self) -> Result<(), Error> {
        if !self.saved.expire_drain() {
            return Ok(());
        }
        info!(
            revision = self.saved.revision,
            "the drain of this balancer ended"
        );
        self.review_announcement();
        self.save()
    }

    /// Takes all routes out before the data path goes; the addresses that were announced.
    pub(super) async fn withdraw_everything(&mut self) -> Vec<IpAddr> {
        let announced = self.announcement.progress().announced;
        if let Some(announcer) = &self.announcement.announcer {
            announcer.want(Wanted::default());
        }
        let Progress { marks, problem, .. } = self.announcement.carried_out().await;
        if let Some(problem) = problem {
            warn!(
                problem,
                "routes of VIPs stay: `ip route flush` removes them"
            );
        }
        self.announcement.announcer = None;
        self.saved.marks = marks;
        if let Err(error) = self.store.save(&self.saved) {
            warn!(
                error = format!("{error:#}"),
                "the state file names routes that are gone"
            );
        }
        announced.into_keys().collect()
    }

    /// What there is to see.
    pub(super) fn announcement_item(&self) -> Option<AnnouncementItem> {
        let announcement = &self.announcement;
        let options = announcement.options?;
        let progress = announcement.progress();
        let vip = |(vip, wish): (&IpAddr, &Wish)| {
            let since = progress.announced.get(vip);
            let since = since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
            VipItem {
                address: *vip,
                announced: progress.announced.contains_key(vip),
                since: since.map(|since| since.as_secs()),
                reason: reason(wish, &progress, progress.announced.contains_key(vip)),
            }
        };
        let by_hand = self.saved.balancer.as_ref();
        Some(AnnouncementItem {
            table: options.table,
            protocol: options.protocol,
            metric: options.metric,
            drained: by_hand.map(|setting| words::drained(setting, now())),
            vips: announcement.wishes.iter().map(vip).collect(),
            problem: progress.problem,
        })
    }
}

/// Why an address is not announced.
fn reason(wish: &Wish, progress: &Progress, is_announced: bool) -> Option<String> {
    match wish {
        Wish::Withdraw(reason) => Some(reason.to_string()),
        Wish::Announce if is_announced => None,
        Wish::Announce => {
            let problem = progress.problem.clone();
            Some(problem.unwrap_or_else(|| "its route is on its way".to_owned()))
        }
    }
}

/// What is refused where nothing is announced.
pub(super) fn nothing_to_drain() -> Error {
    Error::new(
        Code::Refused,
        "this balancer announces nothing, so nothing would change",
    )
    .hint("`announce:` in the configuration makes VIPs known to routing software")
}

/// What a request sets by hand.
pub(super) const fn setting(verb: BalancerVerb, expires: Option<u64>) -> Option<Setting<Admin>> {
    match verb {
        BalancerVerb::Drain => Some(Setting {
            value: Admin::Drain,
            expires,
        }),
        BalancerVerb::Ready => None,
    }
}

/// Words after `xlb` that bring back what was set by hand.
pub(super) fn undo(before: Option<Setting<Admin>>) -> Vec<String> {
    let verb = if before.is_some() { "drain" } else { "ready" };
    vec![verb.to_owned(), "self".to_owned()]
}

#[cfg(test)]
mod tests;
