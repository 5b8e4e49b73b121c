//! Rise and fall: the state of one backend of one service, judged from the outcomes of its probes.
//!
//! Invariant: the state changes only on a conclusive outcome that completes a row of `rise` good or
//! `fall` failed ones, except that the first conclusive outcome decides for [`Health::Unknown`].
//! Pure: no clock, no socket.

use std::{fmt, num::NonZeroU32};

use serde::Serialize;

use super::{Outcome, outcome::Verdict};

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

/// The state of one backend of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    health: Health,
    streak: Streak,
    thresholds: Thresholds,
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

    /// Other thresholds; state and streak stay, and nothing changes before the next outcome.
    pub const fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Takes the outcome of a probe; returns the change it makes, if it makes one.
    pub fn observe(&mut self, outcome: Outcome) -> Option<Transition> {
        let good = match outcome.verdict() {
            Verdict::Good => true,
            Verdict::Failed => false,
            Verdict::Inconclusive => return None,
        };
        self.streak = self.streak.extend(good);
        let (from, to) = (self.health, self.judged());
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
