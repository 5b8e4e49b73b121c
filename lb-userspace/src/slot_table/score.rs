//! How two backends compare in the eyes of a slot.

use super::logarithm::{cost, miss};

/// Bits behind the binary point of bounds, on top of those of costs.
const BOUND_BITS: u32 = 20;
/// `log2(e)` in that fixed point, rounded down.
const LOG2_E: u32 = 1_512_775;

/// What a backend drew for a slot, and its weight. Smaller `cost(lot) / weight` is better, then
/// larger lot; among equal weights that is "larger lot" alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    pub(super) lot: u64,
    weight: u16,
    cost: u64,
}

impl Score {
    pub(super) const fn new(lot: u64, weight: u16) -> Self {
        Self {
            lot,
            weight,
            cost: cost(lot),
        }
    }

    /// Whether this one is better. Neither of two is only if they are equal, since a cost is never 0:
    /// equal lots of different weights do not cost the same. Weight 0 beats nothing.
    pub(super) const fn beats(self, other: Self) -> bool {
        // Cross-multiplied, so that nothing is rounded: 43 bits and 16.
        let own = self.cost * other.weight as u64;
        let others = other.cost * self.weight as u64;
        own < others || own == others && self.lot > other.lot
    }

    /// `cost / weight`, rounded down; what beats this one is not above.
    pub(super) const fn bound(self) -> Bound {
        match (self.cost << BOUND_BITS).checked_div(self.weight as u64) {
            Some(bound) => Bound(bound),
            None => Bound::NONE,
        }
    }
}

/// The largest `cost / weight` that is still worth a logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bound(u64);

impl Bound {
    /// Whatever comes is worth it.
    pub(super) const NONE: Self = Self(u64::MAX);
}

/// A weight as what lots are multiplied by, to bound a score without logarithm and division.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slope(u32);

impl Slope {
    pub(super) const fn new(weight: u16) -> Self {
        match LOG2_E.checked_div(weight as u32) {
            Some(slope) => Self(slope),
            None => Self(0),
        }
    }

    /// At most the [`bound`](Score::bound) of the lot's score, because `-log2(x) >= log2(e) (1 - x)`;
    /// close to it where winners lie, `x` close to 1.
    #[inline(always)]
    pub(super) const fn least(self, lot: u64) -> Bound {
        Bound(miss(lot) * self.0 as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_least_bound_is_one(lot in any::<u64>(), shift in 0..64_u32, weight in 1_u16..) {
            for lot in [lot, lot >> shift, !(lot >> shift)] {
                prop_assert!(Slope::new(weight).least(lot) <= Score::new(lot, weight).bound());
            }
        }

        #[test]
        fn what_beats_a_score_is_within_its_bound(
            lots in any::<[u64; 2]>(),
            shift in 0..64_u32,
            weights in [1..2000_u16, 1..2000],
        ) {
            let [a, b] = [0, 1].map(|i| Score::new(!(lots[i] >> shift), weights[i]));
            prop_assert!(!a.beats(b) || a.bound() <= b.bound());
            prop_assert!(!(a.beats(b) && b.beats(a)));
        }
    }

    #[test]
    fn weight_zero_beats_nothing() {
        let [none, one] = [0, 1].map(|weight| Score::new(u64::MAX, weight));
        assert!(!none.beats(one) && one.beats(none));
    }
}
