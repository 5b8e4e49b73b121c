//! How long to wait before a peer is called again.

use std::time::Duration;

const LEAST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(15);

/// Waits that double, from a quarter of a second to 15 seconds, each shortened by up to a half, so that
/// balancers that lost each other at once do not call at once.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) const fn new() -> Self {
        Self(LEAST)
    }

    /// The next wait; `random`: 0 to 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let wait = self.0.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
        self.0 = (self.0 * 2).min(MOST);
        wait
    }

    /// It answered.
    pub(super) const fn reset(&mut self) {
        self.0 = LEAST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_differ() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.next(0.0), LEAST);
        assert_eq!(backoff.next(0.0), LEAST * 2);
        assert_eq!(backoff.next(1.0), LEAST * 2);
        for _ in 0..9 {
            backoff.next(0.5);
        }
        assert_eq!(backoff.next(0.0), MOST);
        backoff.reset();
        assert_eq!(backoff.next(0.0), LEAST);
    }
}
