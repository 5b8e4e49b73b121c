//! Whether a whole core is ours.
//!
//! A virtual CPU is mostly one of a core's two threads. While the other one is busy, whoever owns it, code as
//! dense as a data path takes half as much again, and code that waits for itself (the empty program behind
//! its tail call) hardly anything more: neither a ratio nor a best of many would tell.

use std::{hint::black_box, thread, time::Duration};

use super::figures::timed;

/// Turns of the loop: some 20 microseconds.
const TURNS: u64 = 20_000;
/// Looks, and the pause between two of them: neighbours come and go within milliseconds.
const LOOKS: usize = 1000;
const PAUSE: Duration = Duration::from_millis(1);

/// What the loop takes where nobody disturbs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Core {
    alone: Duration,
}

impl Core {
    /// The quickest of a second.
    pub(crate) fn learn() -> Self {
        let looks = (0..LOOKS).map(|_| {
            thread::sleep(PAUSE);
            loop_time()
        });
        let alone = looks.min().expect("more than one look");
        Self { alone }
    }

    /// Nobody else has taken of it, at this moment. A busy neighbour makes it half as slow again, or more.
    pub(crate) fn is_whole(self) -> bool {
        loop_time() < self.alone.mul_f64(1.15)
    }

    /// Waits for a moment when it is, for some time.
    pub(crate) fn wait(self) {
        for _ in 0..LOOKS {
            if self.is_whole() {
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Eight chains of sums that do not wait for each other: about as many operations in a cycle as a core has room
/// for.
fn loop_time() -> Duration {
    let (chains, time) = timed(|| {
        let mut chains = black_box([1_u64; 8]);
        for turn in 0..TURNS {
            for (own, chain) in (1..).zip(&mut chains) {
                *chain = (*chain ^ turn).wrapping_add(own);
            }
        }
        chains
    });
    black_box(chains);
    time
}
