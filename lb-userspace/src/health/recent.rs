//! The last probes of a target. There may be ten thousand targets, so that few are kept.

use std::collections::VecDeque;

use super::registry::Last;

/// How many are kept.
const KEPT: usize = 12;

/// Ends of probes, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(VecDeque<Last>);

impl Recent {
    /// Takes one down; the oldest makes room.
    pub(super) fn record(&mut self, probe: Last) {
        if self.0.is_empty() {
            self.0.reserve_exact(KEPT);
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(probe);
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<Last> {
        self.0.back().copied()
    }

    /// All of them, the last one first.
    pub(super) fn latest_first(&self) -> Vec<Last> {
        self.0.iter().rev().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::health::Outcome;

    #[test]
    fn the_last_ones_are_kept_and_no_more_memory_than_they_take() {
        let now = Instant::now();
        let mut recent = Recent::default();
        assert_eq!((recent.last(), recent.0.capacity()), (None, 0));
        for status in 0..100 {
            recent.record(Last {
                advice: None,
                outcome: Outcome::Status(status),
                latency: Duration::ZERO,
                at: now,
            });
        }
        let statuses: Vec<Outcome> = recent.latest_first().iter().map(|it| it.outcome).collect();
        let expected: Vec<Outcome> = (88..100).rev().map(Outcome::Status).collect();
        assert_eq!(statuses, expected);
        assert_eq!(recent.last().unwrap().outcome, Outcome::Status(99));
        assert_eq!(recent.0.capacity(), KEPT);
    }
}
