//! The binary logarithm of a lot in fixed point: integers alone, because `ln` differs in its last
//! bits between mathematics libraries and two balancers must agree on every slot.

/// Bits behind the binary point of [`cost`].
const FRACTION_BITS: u32 = 36;
/// Logarithm of the number of segments of the table.
const INDEX_BITS: u32 = 8;
/// Bits of a mantissa's place inside its segment.
const PLACE_BITS: u32 = 28;

/// The logarithm over one of 256 equal segments of [1, 2), a straight line.
#[derive(Clone, Copy)]
struct Segment {
    /// Fixed point, at its beginning.
    start: u64,
    /// Fixed point, from its beginning to its end.
    rise: u64,
}

static SEGMENTS: [Segment; 1 << INDEX_BITS] = segments();

/// `-log2(lot / 2^64)` with [`FRACTION_BITS`] behind the point: at least 1, at most `64 << 36`, and
/// never larger for a larger lot.
///
/// The chords lie below the curve by up to 2.8e-6; close to 1, where winners lie, all costs are too
/// high by one common factor (at most 1.002), which cancels out in comparisons.
#[inline]
pub(super) const fn cost(lot: u64) -> u64 {
    let lot = lot | 1;
    let zeros = lot.leading_zeros();
    // Shifted in two steps: the leading one goes, and zeros + 1 may be 64.
    let mantissa = lot << zeros << 1;
    #[expect(
        clippy::indexing_slicing,
        reason = "what is left are eight bits, the table's size"
    )]
    let Segment { start, rise } = SEGMENTS[(mantissa >> (64 - INDEX_BITS)) as usize];
    let place = mantissa << INDEX_BITS >> (64 - PLACE_BITS);
    ((zeros as u64 + 1) << FRACTION_BITS) - (start + ((rise * place) >> PLACE_BITS))
}

/// `1 - lot / 2^64` in the fixed point of costs, rounded down.
#[inline(always)]
pub(super) const fn miss(lot: u64) -> u64 {
    !lot >> (64 - FRACTION_BITS)
}

const fn segments() -> [Segment; 1 << INDEX_BITS] {
    let mut segments = [Segment { start: 0, rise: 0 }; 1 << INDEX_BITS];
    let mut index = 0;
    while index < segments.len() {
        let start = log2_of_mantissa(index as u64);
        let rise = log2_of_mantissa(index as u64 + 1) - start;
        #[expect(clippy::indexing_slicing, reason = "the loop ends at the length")]
        {
            segments[index] = Segment { start, rise };
        }
        index += 1;
    }
    segments
}

/// `log2(1 + index / 256)`, rounded down: each squaring of the number shifts one bit of its
/// logarithm over the point.
#[expect(
    clippy::cast_possible_truncation,
    reason = "squares are below 4: 65 bits, of which the carry shifts one out"
)]
const fn log2_of_mantissa(index: u64) -> u64 {
    if index == 1 << INDEX_BITS {
        return 1 << FRACTION_BITS;
    }
    let mut number = ((1 << INDEX_BITS) + index) << (63 - INDEX_BITS);
    let mut logarithm = 0;
    let mut bit = FRACTION_BITS;
    while bit > 0 {
        bit -= 1;
        let square = (number as u128 * number as u128) >> 63;
        let carry = (square >> 64) as u64;
        number = (square >> carry) as u64;
        logarithm |= carry << bit;
    }
    logarithm
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "the test allows for it")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn powers_of_two_have_exact_logarithms() {
        for zeros in 0..27 {
            assert_eq!(cost(1 << (63 - zeros)), (zeros + 1) << FRACTION_BITS);
        }
        assert_eq!(
            (cost(0), cost(1)),
            (64 << FRACTION_BITS, 64 << FRACTION_BITS)
        );
        assert!(
            cost(u64::MAX) >= 1,
            "a cost of nothing would make weights meaningless"
        );
    }

    proptest! {
        #[test]
        fn a_larger_lot_never_costs_more(lot in any::<u64>(), step in 0..64_u32) {
            prop_assert!(cost(lot.saturating_add(1 << step)) <= cost(lot));
        }

        #[test]
        fn it_is_the_logarithm(lot in 1..u64::MAX) {
            let [exact, fixed] = [lot, cost(lot)].map(|number| number as f64);
            let exact = 64.0 - exact.log2();
            let fixed = fixed / f64::from(FRACTION_BITS).exp2();
            prop_assert!((fixed - exact).abs() < 3e-6, "{fixed} for {exact}");
        }
    }
}
