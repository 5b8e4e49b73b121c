//! When a question is asked: evenly spread at the start, never in step later on.
//!
//! The phase follows from the address alone, so that a restart keeps it. The jitter is keyed by a
//! seed, so that two balancers that start together do not ask the same backend at the same moments.

use std::{
    cmp::Reverse,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use super::{machine::Pace, registry::Question};

/// First questions fall into this time, so that a starting daemon soon knows its backends.
const START: Duration = Duration::from_millis(250);

/// How far a wait may be from the interval, as a part of it.
const JITTER: f64 = 0.1;

/// From the beginning of one probe to that of the next, by how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Paces {
    pub(super) steady: Duration,
    pub(super) doubt: Duration,
    /// It doubles with each failure, up to `most`.
    pub(super) down: Duration,
    pub(super) most: Duration,
}

impl Paces {
    fn of(self, pace: Pace) -> Duration {
        match pace {
            Pace::Steady => self.steady,
            Pace::Doubt => self.doubt,
            Pace::Down(Reverse(failures)) => {
                let doubled = self.down.saturating_mul(1 << failures.min(16));
                doubled.min(self.most)
            }
        }
    }
}

/// The waits of one question.
#[derive(Debug)]
pub(super) struct Schedule {
    paces: Paces,
    phase: f64,
    random: SplitMix,
    settled: bool,
}

impl Schedule {
    pub(super) fn new(question: &Question, seed: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        question.asked.address.hash(&mut hasher);
        let phase = SplitMix(hasher.finish()).fraction();
        hasher.write_u64(seed);
        Self {
            paces: question.paces,
            phase,
            random: SplitMix(hasher.finish()),
            settled: false,
        }
    }

    /// From the start to the beginning of the first probe.
    pub(super) fn first(&self) -> Duration {
        self.paces.steady.min(START).mul_f64(self.phase)
    }

    /// From the beginning of one probe to that of the next: the interval, one tenth more or less. Only
    /// the first time half of it to the whole, which spreads the targets over the interval.
    pub(super) fn next(&mut self, pace: Pace) -> Duration {
        let factor = if self.settled {
            1.0 + JITTER * (2.0 * self.random.fraction() - 1.0)
        } else {
            f64::midpoint(1.0, self.phase)
        };
        self.settled = true;
        self.paces.of(pace).mul_f64(factor)
    }
}

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014, fig. 17).
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `0.0..1.0`.
    fn fraction(&mut self) -> f64 {
        // The upper half fits a double exactly.
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(u32::MAX)) / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr, SocketAddr},
        sync::Arc,
    };

    use proptest::prelude::*;

    use super::*;
    use crate::health::probe::Asked;

    proptest! {
        #[test]
        fn waits_stay_within_a_tenth(host: u32, seed: u64, millis in 1u64..100_000) {
            let question = question(host, millis);
            let mut schedule = Schedule::new(&question, seed);
            prop_assert!(schedule.first() <= question.paces.steady.min(START));
            let second = schedule.next(Pace::Steady);
            prop_assert!(second >= question.paces.steady / 2 && second <= question.paces.steady);
            for _ in 0..50 {
                let wait = schedule.next(Pace::Steady).as_secs_f64() / question.paces.steady.as_secs_f64();
                prop_assert!((0.9 - 1e-6..=1.1 + 1e-6).contains(&wait), "{wait}");
            }
        }
    }

    #[test]
    fn targets_are_spread_evenly() {
        const TARGETS: u32 = 4_000;
        let mut tenths = [0u32; 10];
        for host in 0..TARGETS {
            let first = Schedule::new(&question(host, 1_000), 0).first();
            let tenth = first.as_secs_f64() / START.as_secs_f64() * 10.0;
            let index = (0..10u8).rfind(|&t| tenth >= f64::from(t)).unwrap();
            tenths[usize::from(index)] += 1;
        }
        let fair = TARGETS / 10;
        assert!(
            tenths.iter().all(|&t| t > fair / 2 && t < fair * 2),
            "{tenths:?}"
        );
    }

    #[test]
    fn each_pace_has_its_interval() {
        let paces = question(7, 1_000).paces;
        let down = |failures| paces.of(Pace::Down(Reverse(failures))).as_secs();
        assert_eq!([0, 1, 2, 3, u32::MAX].map(down), [2, 4, 8, 10, 10]);
        assert_eq!(paces.of(Pace::Doubt), Duration::from_millis(500));
        assert_eq!(paces.of(Pace::Steady), Duration::from_secs(1));
    }

    #[test]
    fn the_phase_survives_a_restart_and_the_jitter_does_not() {
        let question = question(7, 1_000);
        let mut one = Schedule::new(&question, 1);
        let mut other = Schedule::new(&question, 2);
        assert_eq!(one.first(), other.first());
        assert_eq!(one.next(Pace::Steady), other.next(Pace::Steady));
        assert_ne!(one.next(Pace::Steady), other.next(Pace::Steady));
    }

    fn question(host: u32, millis: u64) -> Question {
        let interval = Duration::from_millis(millis);
        Question {
            asked: Arc::new(Asked {
                from: None,
                address: SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(host)), 80),
                check: Arc::default(),
                adviser: None,
                timeout: interval,
            }),
            paces: Paces {
                steady: interval,
                doubt: interval / 2,
                down: interval * 2,
                most: interval * 10,
            },
        }
    }
}
