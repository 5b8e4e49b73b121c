//! Flap damping: a backend that falls again and again is not taken back before it has been up for a while.
//!
//! As of routes in BGP (RFC 2439, §4.2): each fall adds to a penalty, which loses half of itself in each half-life.
//! Above one bound the backend is suppressed, and below a lower one it is reused. The penalty has a ceiling, from which
//! it is down to the lower bound within the maximum hold time.
//!
//! Pure: instants are handed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::Damping;

/// What a fall adds.
const FALL: f64 = 1000.0;

/// The penalty of one backend of one service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Penalty {
    rules: Damping,
    /// As of `at`.
    points: f64,
    at: Instant,
    suppressed: bool,
}

impl Penalty {
    /// None yet.
    pub(super) const fn new(rules: Damping, now: Instant) -> Self {
        Self {
            rules,
            points: 0.0,
            at: now,
            suppressed: false,
        }
    }

    /// Goes by other rules from now on.
    pub(super) fn set_rules(&mut self, rules: Damping, now: Instant) {
        self.decay(now);
        self.rules = rules;
        self.points = self.points.min(rules.ceiling());
    }

    /// Takes note that the backend fell.
    pub(super) fn fell(&mut self, now: Instant) {
        self.decay(now);
        self.points = (self.points + FALL).min(self.rules.ceiling());
        self.suppressed |= self.points >= f64::from(self.rules.suppress);
    }

    /// Lets time pass.
    pub(super) fn decay(&mut self, now: Instant) {
        self.points = self.points_at(now);
        self.at = self.at.max(now);
        self.suppressed &= self.points >= f64::from(self.rules.reuse);
    }

    /// Whether the backend is kept out.
    #[must_use]
    pub const fn is_suppressed(&self) -> bool {
        self.suppressed
    }

    /// The penalty; a fall adds 1,000.
    #[must_use]
    pub fn points(&self, now: Instant) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative, and the ceiling is a small multiple of a whole number"
        )]
        let points = self.points_at(now).round() as u32;
        points
    }

    /// How long it is until the backend is reused, if it is kept out.
    #[must_use]
    pub fn reused_in(&self, now: Instant) -> Option<Duration> {
        let halvings = (self.points_at(now) / f64::from(self.rules.reuse)).log2();
        let left = self.rules.half_life.mul_f64(halvings.max(0.0));
        self.suppressed.then_some(left)
    }

    fn points_at(&self, now: Instant) -> f64 {
        let since = now.duration_since(self.at).as_secs_f64();
        self.points * (-since / self.rules.half_life.as_secs_f64()).exp2()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Damping = Damping {
        half_life: Duration::from_mins(1),
        suppress: 2500,
        reuse: 1000,
        max: Duration::from_mins(4),
    };

    #[test]
    fn a_penalty_loses_half_of_itself_in_each_half_life() {
        let begun = Instant::now();
        let mut penalty = Penalty::new(RULES, begun);
        assert_eq!(penalty.points(begun + RULES.half_life), 0);
        penalty.fell(begun);
        let points = [0, 1, 2, 3].map(|lives| penalty.points(begun + RULES.half_life * lives));
        assert_eq!(points, [1000, 500, 250, 125]);
        penalty.fell(begun + RULES.half_life);
        assert_eq!(penalty.points(begun + RULES.half_life), 1500);
    }

    #[test]
    fn who_falls_too_often_is_suppressed_until_the_penalty_is_low_enough() {
        let begun = Instant::now();
        let mut penalty = Penalty::new(RULES, begun);
        for fall in 1..=3 {
            assert!(!penalty.is_suppressed());
            penalty.fell(begun + Duration::from_secs(fall));
        }
        assert!(penalty.is_suppressed());
        let last = begun + Duration::from_secs(3);
        let left = penalty.reused_in(last).unwrap();
        penalty.decay(last + left - Duration::from_millis(1));
        assert!(penalty.is_suppressed());
        penalty.decay(last + left + Duration::from_millis(1));
        assert!(!penalty.is_suppressed());
        assert_eq!(penalty.reused_in(last + left), None);
    }

    #[test]
    fn falls_far_apart_suppress_nobody() {
        let mut now = Instant::now();
        let mut penalty = Penalty::new(RULES, now);
        for _ in 0..1000 {
            now += RULES.half_life;
            penalty.fell(now);
            assert!(!penalty.is_suppressed());
        }
        assert_eq!(penalty.points(now), 2000);
    }

    #[test]
    fn other_rules_count_at_once() {
        let now = Instant::now();
        let mut penalty = Penalty::new(RULES, now);
        (0..3).for_each(|_| penalty.fell(now));
        let milder = Damping {
            suppress: 9000,
            reuse: 3500,
            ..RULES
        };
        penalty.set_rules(milder, now);
        penalty.decay(now);
        assert!(!penalty.is_suppressed());
    }

    proptest! {
        #[test]
        fn who_falls_no_more_is_back_within_the_hold_time(
            rules in rules(),
            waits in prop::collection::vec(0_u64..200_000, 1..40),
        ) {
            let mut now = Instant::now();
            let mut penalty = Penalty::new(rules, now);
            for wait in waits {
                now += Duration::from_millis(wait);
                penalty.fell(now);
                let left = penalty.reused_in(now).unwrap_or_default();
                prop_assert!(left <= rules.max + Duration::from_millis(1), "{left:?}");
                prop_assert!(penalty.is_suppressed() || penalty.points(now) <= rules.suppress);
            }
            penalty.decay(now + rules.max + Duration::from_millis(1));
            prop_assert!(!penalty.is_suppressed());
        }
    }

    fn rules() -> impl Strategy<Value = Damping> {
        (1_u64..600, 1_u32..5000, 0_u32..5000, 1_u64..3600).prop_map(
            |(half_life, reuse, more, max)| Damping {
                half_life: Duration::from_secs(half_life),
                suppress: reuse + more,
                reuse,
                max: Duration::from_secs(max),
            },
        )
    }
}
