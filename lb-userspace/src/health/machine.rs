//! Rise and fall: the state of one backend of one service, judged from the outcomes of its probes.
//!
//! Invariant: the state changes only on a conclusive outcome that completes a row of `rise` good or
//! `fall` failed ones, except that the first conclusive outcome decides for [`Health::Unknown`].
//! Pure: no clock, no socket.

use std::{cmp::Reverse, fmt, num::NonZeroU32};

use serde::Serialize;

use super::{Held, Outcome, outcome::Verdict};

/// Whether a backend answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It does not: it takes no flows.
    Down,
    /// Nothing is known of it: it takes no flows until its first probe has ended.
    Unknown,
    /// It does.
    Up,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Up => "up",
        })
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Health,
    /// After; never [`Health::Unknown`].
    pub to: Health,
}

/// Probes in a row that change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones, from down to up.
    pub rise: NonZeroU32,
    /// Failed ones, from up to down.
    pub fall: NonZeroU32,
}

impl Thresholds {
    /// Thresholds from a configuration; 0 is taken for 1.
    #[must_use]
    pub fn new(rise: u32, fall: u32) -> Self {
        let at_least_one = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self {
            rise: at_least_one(rise),
            fall: at_least_one(fall),
        }
    }
}

/// Conclusive outcomes of one kind, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streak {
    /// This many failed ones.
    Failed(u32),
    /// This many good ones; 0 before the first outcome.
    Good(u32),
}

impl Streak {
    const fn extend(self, good: bool) -> Self {
        match (self, good) {
            (Self::Good(count), true) => Self::Good(count.saturating_add(1)),
            (Self::Failed(count), false) => Self::Failed(count.saturating_add(1)),
            (Self::Failed(_), true) => Self::Good(1),
            (Self::Good(_), false) => Self::Failed(1),
        }
    }
}

/// How urgent the next probe is: the higher, the more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// It is down, and failed so many times since, all ones: of several, the one that failed least counts.
    Down(Reverse<u32>),
    /// It is what it was.
    #[default]
    Steady,
    /// It may be about to change.
    Doubt,
}

/// The state of one backend of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    health: Health,
    streak: Streak,
    thresholds: Thresholds,
    held: Option<Held>,
}

impl Machine {
    /// A machine in a state: [`Health::Unknown`] for a new backend, the installed one for a backend
    /// that is adopted.
    #[must_use]
    pub const fn new(initial: Health, thresholds: Thresholds) -> Self {
        Self {
            health: initial,
            streak: Streak::Good(0),
            thresholds,
            held: None,
        }
    }

    /// The state.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// The row of equal outcomes that the last one ended.
    #[must_use]
    pub const fn streak(&self) -> Streak {
        self.streak
    }

    /// Why it is up although it failed often enough.
    #[must_use]
    pub const fn held(&self) -> Option<Held> {
        self.held
    }

    /// How urgent the next probe is.
    #[must_use]
    pub const fn pace(&self) -> Pace {
        match (self.health, self.streak) {
            (Health::Down, Streak::Failed(count)) => {
                Pace::Down(Reverse(count.saturating_sub(self.thresholds.fall.get())))
            }
            (Health::Up, Streak::Failed(_)) if self.held.is_some() => Pace::Steady,
            (Health::Up, Streak::Good(_)) => Pace::Steady,
            (Health::Unknown | Health::Up, _) | (Health::Down, Streak::Good(_)) => Pace::Doubt,
        }
    }

    /// Other thresholds; state and streak stay, and nothing changes before the next outcome.
    pub const fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Takes the outcome of a probe; returns the change it makes, if it makes one.
    pub fn observe(&mut self, outcome: Outcome) -> Option<Transition> {
        self.observe_unless(outcome, || None)
    }

    /// The same; `hold` says why it stays up, where that would be its end. The next failure asks again.
    pub fn observe_unless(
        &mut self,
        outcome: Outcome,
        hold: impl FnOnce() -> Option<Held>,
    ) -> Option<Transition> {
        let good = match outcome.verdict() {
            Verdict::Good => true,
            Verdict::Failed => false,
            Verdict::Inconclusive => return None,
        };
        self.streak = self.streak.extend(good);
        let (from, judged) = (self.health, self.judged());
        let falls = (from, judged) == (Health::Up, Health::Down);
        self.held = if falls { hold() } else { None };
        let to = if self.held.is_some() { from } else { judged };
        self.health = to;
        (from != to).then_some(Transition { from, to })
    }

    const fn judged(&self) -> Health {
        let Thresholds { rise, fall } = self.thresholds;
        match (self.health, self.streak) {
            (Health::Unknown, Streak::Good(_)) => Health::Up,
            (Health::Unknown, Streak::Failed(_)) => Health::Down,
            (Health::Down, Streak::Good(count)) if count >= rise.get() => Health::Up,
            (Health::Up, Streak::Failed(count)) if count >= fall.get() => Health::Down,
            (health, _) => health,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_change_needs_a_whole_row(
            initial in health(), rise in 1u32..6, fall in 1u32..6, outcomes in outcomes(),
        ) {
            let mut machine = Machine::new(initial, Thresholds::new(rise, fall));
            let mut seen = Vec::new();
            for outcome in outcomes {
                seen.push(outcome);
                let change = machine.observe(outcome);
                let needed = match change {
                    None => continue,
                    Some(Transition { from: Health::Unknown, .. }) => 1,
                    Some(Transition { to: Health::Up, .. }) => rise,
                    Some(_) => fall,
                };
                let good = machine.health() == Health::Up;
                prop_assert!(last_in_a_row(&seen, good) >= needed);
            }
        }

        #[test]
        fn a_whole_row_always_decides(
            initial in health(), rise in 1u32..6, fall in 1u32..6, outcomes in outcomes(), good: bool,
        ) {
            let mut machine = observed(initial, Thresholds::new(rise, fall), &outcomes);
            let (outcome, length, expected) =
                if good { (Outcome::Ok, rise, Health::Up) } else { (Outcome::Timeout, fall, Health::Down) };
            for _ in 0..length {
                machine.observe(outcome);
            }
            prop_assert_eq!(machine.health(), expected);
        }

        #[test]
        fn inconclusive_outcomes_change_nothing(
            initial in health(), rise in 1u32..6, fall in 1u32..6, outcomes in outcomes(),
        ) {
            let thresholds = Thresholds::new(rise, fall);
            let conclusive: Vec<_> = outcomes
                .iter()
                .copied()
                .filter(|outcome| outcome.verdict() != Verdict::Inconclusive)
                .collect();
            prop_assert_eq!(
                observed(initial, thresholds, &outcomes),
                observed(initial, thresholds, &conclusive)
            );
        }

        #[test]
        fn transitions_are_a_chain(
            initial in health(), rise in 1u32..6, fall in 1u32..6, outcomes in outcomes(),
        ) {
            let mut machine = Machine::new(initial, Thresholds::new(rise, fall));
            let mut at = initial;
            for outcome in outcomes {
                if let Some(Transition { from, to }) = machine.observe(outcome) {
                    prop_assert_eq!(from, at);
                    prop_assert_ne!(to, from);
                    prop_assert_ne!(to, Health::Unknown);
                    at = to;
                }
                prop_assert_eq!(machine.health(), at);
            }
        }
    }

    #[test]
    fn the_first_outcome_decides_for_an_unknown_backend() {
        for (outcome, expected) in [(Outcome::Ok, Health::Up), (Outcome::Refused, Health::Down)] {
            let machine = observed(Health::Unknown, Thresholds::new(5, 5), &[outcome]);
            assert_eq!(machine.health(), expected);
        }
    }

    #[test]
    fn an_adopted_backend_keeps_its_state_until_fall() {
        let mut machine = Machine::new(Health::Up, Thresholds::new(2, 3));
        assert_eq!(machine.observe(Outcome::Timeout), None);
        assert_eq!(machine.observe(Outcome::Timeout), None);
        assert_eq!(
            machine.observe(Outcome::Timeout),
            Some(Transition {
                from: Health::Up,
                to: Health::Down
            })
        );
    }

    #[test]
    fn what_is_in_doubt_is_asked_soon_and_the_dead_seldom() {
        let mut machine = Machine::new(Health::Unknown, Thresholds::new(2, 2));
        let mut paces = vec![machine.pace()];
        for outcome in [
            Outcome::Ok,
            Outcome::Timeout,
            Outcome::Timeout,
            Outcome::Timeout,
            Outcome::Ok,
            Outcome::Ok,
        ] {
            machine.observe(outcome);
            paces.push(machine.pace());
        }
        let down = |count| Pace::Down(Reverse(count));
        let (doubt, steady) = (Pace::Doubt, Pace::Steady);
        assert_eq!(
            paces,
            [doubt, steady, doubt, down(0), down(1), doubt, steady]
        );
        assert!(doubt > steady && steady > down(0) && down(0) > down(1));
    }

    #[test]
    fn what_is_held_stays_up_and_falls_with_the_next_failure() {
        let mut machine = Machine::new(Health::Up, Thresholds::new(2, 2));
        assert_eq!(machine.observe(Outcome::Timeout), None);
        let held = machine.observe_unless(Outcome::Timeout, || Some(Held::MaxEjected));
        assert_eq!((held, machine.held()), (None, Some(Held::MaxEjected)));
        let fallen = machine.observe(Outcome::Timeout).unwrap();
        assert_eq!((fallen.to, machine.held()), (Health::Down, None));
        let still = machine.observe_unless(Outcome::Timeout, || unreachable!("it is down"));
        assert_eq!(still, None);
    }

    #[test]
    fn a_good_probe_ends_a_row_of_failures() {
        let outcomes = [
            Outcome::Timeout,
            Outcome::Timeout,
            Outcome::Ok,
            Outcome::Timeout,
        ];
        let machine = observed(Health::Up, Thresholds::new(1, 3), &outcomes);
        assert_eq!(machine.health(), Health::Up);
        assert_eq!(machine.streak(), Streak::Failed(1));
    }

    fn observed(initial: Health, thresholds: Thresholds, outcomes: &[Outcome]) -> Machine {
        let mut machine = Machine::new(initial, thresholds);
        for outcome in outcomes {
            machine.observe(*outcome);
        }
        machine
    }

    fn last_in_a_row(outcomes: &[Outcome], good: bool) -> u32 {
        let wanted = if good { Verdict::Good } else { Verdict::Failed };
        let row = outcomes
            .iter()
            .rev()
            .filter(|outcome| outcome.verdict() != Verdict::Inconclusive)
            .take_while(|outcome| outcome.verdict() == wanted);
        u32::try_from(row.count()).unwrap()
    }

    fn health() -> impl Strategy<Value = Health> {
        prop_oneof![Just(Health::Down), Just(Health::Unknown), Just(Health::Up)]
    }

    fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
        let outcome = prop_oneof![
            4 => Just(Outcome::Ok),
            2 => Just(Outcome::Timeout),
            2 => Just(Outcome::Refused),
            1 => Just(Outcome::NotMade(libc::EMFILE)),
        ];
        prop::collection::vec(outcome, 0..60)
    }
}
