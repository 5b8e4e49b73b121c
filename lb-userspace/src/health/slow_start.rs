//! Slow start: a backend that comes back while others serve gets a share that grows.
//!
//! Nobody is spared who has nobody beside him: of a service that had no backend, those that come within the time that
//! a share takes to grow take all at once, each the first time.
//!
//! Pure: instants are handed in.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::Health;
use crate::slot_table::Part;

/// Steps from the first part to the whole.
const STEPS: u64 = 9;

/// What each step adds, in hundredths; the first part is as large.
const STEP: u64 = 10;

/// How much of its slots a backend takes that came back so long ago.
#[must_use]
pub fn part(since: Duration, slow_start: Duration) -> Part {
    let percent = (steps(since, slow_start) + 1) * STEP;
    u8::try_from(percent).map_or(Part::WHOLE, Part::of)
}

/// Steps that are taken by then.
fn steps(since: Duration, slow_start: Duration) -> u64 {
    if since >= slow_start {
        return STEPS;
    }
    let steps = nanoseconds(since) * u128::from(STEPS) / nanoseconds(slow_start);
    u64::try_from(steps).unwrap_or(STEPS)
}

/// From its return to the next step.
fn next_step(since: Duration, slow_start: Duration) -> Duration {
    let step = u128::from(steps(since, slow_start) + 1).min(STEPS.into());
    let at = (nanoseconds(slow_start) * step).div_ceil(STEPS.into());
    Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX))
}

const fn nanoseconds(time: Duration) -> u128 {
    time.as_nanos()
}

/// A backend of a service, by the service's name.
pub type Id = (String, SocketAddr);

/// A backend that came up.
#[derive(Clone, Copy, Debug)]
pub struct Rise {
    /// What it was before.
    pub from: Health,
    /// When it came up.
    pub at: Instant,
    /// How long its share is to grow.
    pub slow_start: Duration,
    /// Whether others of its service take flows, and it does not.
    pub has_others: bool,
}

/// A share that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Growth {
    begun: Instant,
    slow_start: Duration,
}

/// A service that had nobody has somebody again.
#[derive(Debug)]
struct Revival {
    at: Instant,
    /// Who came since.
    first: HashSet<SocketAddr>,
}

/// The shares that grow.
#[derive(Debug, Default)]
pub struct Growing {
    backends: BTreeMap<Id, Growth>,
    /// Services that had nobody.
    revived: HashMap<String, Revival>,
    /// Of whom nothing was known as the daemon began.
    unknown: HashSet<Id>,
}

impl Growing {
    /// Nothing is known of these as the daemon begins: that they answer says not that they come back.
    pub fn begin(&mut self, unknown: impl IntoIterator<Item = Id>) {
        self.unknown.extend(unknown);
    }

    /// Takes note of a backend that came up; whether its share grows.
    pub fn rose(&mut self, id: &Id, rise: &Rise) -> bool {
        let Rise {
            from,
            at,
            slow_start,
            has_others,
        } = *rise;
        let was_there = self.unknown.remove(id) && from == Health::Unknown;
        let (service, address) = id;
        if !has_others {
            let first = [*address].into();
            self.revived.insert(service.clone(), Revival { at, first });
            return false;
        }
        let is_early = self.revived.get_mut(service).is_some_and(|revival| {
            let is_first = revival.first.insert(*address);
            is_first && at.duration_since(revival.at) < slow_start
        });
        if was_there || is_early {
            return false;
        }
        let begun = at;
        self.backends
            .insert(id.clone(), Growth { begun, slow_start });
        true
    }

    /// Takes note of a backend that went down; the next time it begins anew.
    pub fn fell(&mut self, id: &Id) {
        self.unknown.remove(id);
        self.backends.remove(id);
    }

    /// Goes by another configuration: `slow_start` of a backend, where it has one.
    pub fn follow(&mut self, slow_start: impl Fn(&Id) -> Option<Duration>) {
        self.backends.retain(|id, growth| {
            let known = slow_start(id);
            growth.slow_start = known.unwrap_or_default();
            known.is_some()
        });
    }

    /// How much each takes whose share grows.
    pub fn parts(&self, now: Instant) -> impl Iterator<Item = (&Id, Part)> {
        let part = move |growth: &Growth| part(now.duration_since(growth.begun), growth.slow_start);
        self.backends
            .iter()
            .map(move |(id, growth)| (id, part(growth)))
    }

    /// How long it is until a backend takes all, if its share grows.
    #[must_use]
    pub fn left(&self, id: &Id, now: Instant) -> Option<Duration> {
        let Growth { begun, slow_start } = self.backends.get(id)?;
        Some((*begun + *slow_start).duration_since(now))
    }

    /// When the next share grows.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let next = |growth: &Growth| {
            let since = now.duration_since(growth.begun);
            growth.begun + next_step(since, growth.slow_start)
        };
        self.backends.values().map(next).min()
    }

    /// Forgets those that take all by now, and tells which.
    pub fn take_grown(&mut self, now: Instant) -> Vec<Id> {
        let is_grown = |_: &Id, growth: &mut Growth| now >= growth.begun + growth.slow_start;
        let grown = self.backends.extract_if(.., is_grown);
        grown.map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLOW: Duration = Duration::from_secs(90);

    fn id(number: u8) -> Id {
        ("web".to_owned(), SocketAddr::from(([10, 0, 0, number], 80)))
    }

    fn rise(at: Instant) -> Rise {
        Rise {
            from: Health::Down,
            at,
            slow_start: SLOW,
            has_others: true,
        }
    }

    fn parts(growing: &Growing, now: Instant) -> Vec<u8> {
        growing.parts(now).map(|(_, part)| part.percent()).collect()
    }

    #[test]
    fn a_share_grows_by_equal_steps_to_the_whole() {
        let percents = |seconds| part(Duration::from_secs(seconds), SLOW).percent();
        let seen = [0, 9, 10, 45, 89, 90, 1000].map(percents);
        assert_eq!(seen, [10, 10, 20, 50, 90, 100, 100]);
    }

    #[test]
    fn steps_come_one_after_the_other_until_all_is_taken() {
        let mut growing = Growing::default();
        let mut now = Instant::now();
        assert!(growing.rose(&id(1), &rise(now)));
        let mut seen = parts(&growing, now);
        while let Some(next) = growing.next(now) {
            assert!(next > now);
            now = next;
            seen.extend(parts(&growing, now));
            assert!(growing.take_grown(now).len() <= 1);
        }
        assert_eq!(seen, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    }

    #[test]
    fn who_comes_first_takes_all() {
        let mut growing = Growing::default();
        let now = Instant::now();
        let alone = Rise {
            has_others: false,
            ..rise(now)
        };
        assert!(!growing.rose(&id(1), &alone));
        assert!(!growing.rose(&id(2), &rise(now + SLOW / 2)));
        assert!(growing.rose(&id(2), &rise(now + SLOW / 2)), "again");
        assert!(growing.rose(&id(3), &rise(now + SLOW)));
    }

    #[test]
    fn what_the_daemon_did_not_see_come_back_does_not_grow() {
        let mut growing = Growing::default();
        let now = Instant::now();
        growing.begin([id(1), id(2)]);
        let first = Rise {
            from: Health::Unknown,
            ..rise(now)
        };
        assert!(!growing.rose(&id(1), &first));
        growing.fell(&id(2));
        assert!(growing.rose(&id(2), &rise(now)));
        assert!(growing.rose(&id(3), &first), "it is new");
        growing.fell(&id(1));
        assert!(growing.rose(&id(1), &rise(now)));
    }

    #[test]
    fn what_falls_begins_anew_and_what_is_not_configured_is_forgotten() {
        let mut growing = Growing::default();
        let now = Instant::now();
        assert!(growing.rose(&id(1), &rise(now)));
        assert!(growing.rose(&id(2), &rise(now)));
        growing.fell(&id(1));
        assert!(growing.rose(&id(1), &rise(now + SLOW / 2)));
        assert_eq!(parts(&growing, now + SLOW / 2), [10, 50]);
        let left = growing.left(&id(2), now + SLOW / 2);
        assert_eq!(left, Some(SLOW / 2));
        growing.follow(|known| (*known == id(2)).then_some(SLOW * 2));
        assert_eq!(parts(&growing, now + SLOW / 2), [30]);
    }

    proptest! {
        #[test]
        fn a_part_never_shrinks(slow in 1_u64..1 << 46, one in any::<u64>(), other in any::<u64>()) {
            let time = |nanos| Duration::from_nanos(nanos % (2 * slow));
            let (sooner, later) = (time(one).min(time(other)), time(one).max(time(other)));
            let slow = Duration::from_nanos(slow);
            prop_assert!(part(sooner, slow) <= part(later, slow));
            prop_assert!(part(sooner, slow) >= Part::of(10));
            prop_assert_eq!(part(sooner, slow) == Part::WHOLE, sooner >= slow);
            let next = next_step(sooner, slow);
            prop_assert!(sooner >= slow || next > sooner && next <= slow);
            prop_assert!(sooner >= slow || part(next, slow) > part(sooner, slow));
        }
    }
}
