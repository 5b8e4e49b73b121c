//! How many slots each backend is due: largest remainder (Hare–Niemeyer).

use std::cmp::Reverse;

/// Shares `slots` out in proportion to `weights`: each gets the floor or the ceiling of its exact
/// share, together they get all; weight 0 gets none. Among equal remainders the first come first,
/// so the order given must be one that depends on identities alone.
pub(super) fn quotas(slots: u32, weights: &[u16]) -> Vec<u32> {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let shares: Vec<(u32, u64)> = weights
        .iter()
        .map(|&weight| share(slots, weight, total))
        .collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|&index| Reverse(shares.get(index).map(|&(_, remainder)| remainder)));

    let mut quotas: Vec<u32> = shares.iter().map(|&(floor, _)| floor).collect();
    let left = if total == 0 {
        0
    } else {
        slots - quotas.iter().sum::<u32>()
    };
    for index in by_remainder.into_iter().take(left as usize) {
        if let Some(quota) = quotas.get_mut(index) {
            *quota += 1;
        }
    }
    quotas
}

/// The floor of `slots * weight / total`, and what the division leaves.
fn share(slots: u32, weight: u16, total: u64) -> (u32, u64) {
    let product = u64::from(slots) * u64::from(weight);
    let floor = product.checked_div(total).unwrap_or(0);
    (
        u32::try_from(floor).unwrap_or(slots),
        product - floor * total,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn largest_remainders_round_up() {
        assert_eq!(quotas(10, &[1, 1, 1]), [4, 3, 3]);
        assert_eq!(quotas(16, &[5, 0, 2, 1]), [10, 0, 4, 2]);
        assert_eq!(quotas(4, &[1000, 1]), [4, 0]);
        assert_eq!(quotas(8, &[0, 0]), [0, 0]);
        assert_eq!(quotas(8, &[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn each_gets_its_floor_or_ceiling(
            bits in 0..=18_u32,
            weights in prop::collection::vec(prop_oneof![0..=4_u16, any::<u16>()], 1..300),
        ) {
            let slots = 1_u32 << bits;
            let total: u64 = weights.iter().copied().map(u64::from).sum();
            prop_assume!(total > 0);
            let quotas = quotas(slots, &weights);
            prop_assert_eq!(quotas.iter().sum::<u32>(), slots);
            for (&quota, &weight) in quotas.iter().zip(&weights) {
                let exact = u64::from(slots) * u64::from(weight);
                let quota = u64::from(quota);
                prop_assert!(quota == exact / total || quota == exact.div_ceil(total));
            }
        }
    }
}
