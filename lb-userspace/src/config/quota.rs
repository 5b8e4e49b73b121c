//! Which weights are too small for a slot.

/// For each weight, whether its backend owns at least one of `slots` slots, whichever way ties are
/// broken. Weight 0 is meant to own none and is fine.
///
/// By largest remainder a backend owns the floor of `weight * slots / sum`, and those with the
/// largest remainders one slot more, until all slots are given away.
pub(super) fn own_a_slot(weights: &[u16], slots: u32) -> Vec<bool> {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let shares: Vec<_> = weights
        .iter()
        .map(|weight| Share::new(*weight, slots, sum))
        .collect();
    let given: u64 = shares.iter().map(|share| share.floor).sum();
    let left = usize::try_from(u64::from(slots) - given).unwrap_or(usize::MAX);
    let mut remainders: Vec<_> = shares.iter().map(|share| share.remainder).collect();
    remainders.sort_unstable();
    let owns = |share: &Share| {
        let as_large = remainders.len() - remainders.partition_point(|r| *r < share.remainder);
        share.floor > 0 || as_large <= left
    };
    let fine = |(weight, share): (&u16, &Share)| *weight == 0 || owns(share);
    weights.iter().zip(&shares).map(fine).collect()
}

struct Share {
    floor: u64,
    remainder: u64,
}

impl Share {
    fn new(weight: u16, slots: u32, sum: u64) -> Self {
        let product = u64::from(weight) * u64::from(slots);
        Self {
            floor: product.checked_div(sum).unwrap_or(0),
            remainder: product.checked_rem(sum).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What `last` gets by largest remainder if it loses every tie.
    fn quota_of(last: usize, weights: &[u16], slots: u32) -> u64 {
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let product = |index: usize| u64::from(weights[index]) * u64::from(slots);
        let mut order: Vec<_> = (0..weights.len()).collect();
        order.sort_by_key(|&index| (std::cmp::Reverse(product(index) % sum), index == last));
        let given: u64 = order.iter().map(|&index| product(index) / sum).sum();
        let left = usize::try_from(u64::from(slots) - given).unwrap();
        let rank = order.iter().position(|&index| index == last).unwrap();
        product(last) / sum + u64::from(rank < left)
    }

    proptest! {
        #[test]
        fn agrees_with_giving_slots_away_one_by_one(
            weights in vec(0_u16..=1000, 1..60),
            bits in 4_u32..12,
        ) {
            let slots = 1 << bits;
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            for (index, owns) in own_a_slot(&weights, slots).into_iter().enumerate() {
                let expected = weights[index] == 0 || quota_of(index, &weights, slots) > 0;
                prop_assert_eq!(owns, expected, "backend {}", index);
            }
        }
    }

    #[test]
    fn equal_weights_own_slots_as_long_as_there_are_enough() {
        assert!(own_a_slot(&[7; 16], 16).into_iter().all(|owns| owns));
        assert!(own_a_slot(&[7; 17], 16).into_iter().all(|owns| !owns));
    }

    #[test]
    fn a_drained_service_is_fine() {
        assert_eq!(own_a_slot(&[0, 0], 16), [true, true]);
    }
}
