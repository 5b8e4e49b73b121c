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
