//! What is rare in a long table. A table of 2^18 slots is gone through with every death and return of a backend, and
//! most of it has nothing to do with them: a block is asked as a whole, without a branch, which is done for many
//! slots at a time.

/// Slots asked at once.
const BLOCK: usize = 64;

/// The items of which something holds that does of few, with their places.
pub(crate) fn items<T: Copy>(
    all: &[T],
    is_it: impl Fn(T) -> bool + Copy,
) -> impl Iterator<Item = (u32, T)> {
    blocks(all)
        .filter(move |(_, block)| block.iter().fold(false, |any, it| any | is_it(*it)))
        .flat_map(|(first, block)| (first..).zip(block.iter().copied()))
        .filter(move |(_, it)| is_it(*it))
}

/// The same of pairs of items at one place of two tables.
pub(crate) fn pairs<T: Copy, U: Copy>(
    left: &[T],
    right: &[U],
    is_it: impl Fn(T, U) -> bool + Copy,
) -> impl Iterator<Item = (u32, (T, U))> {
    let both = |left, right| std::iter::zip(<[T]>::iter(left), <[U]>::iter(right));
    blocks(left)
        .zip(right.chunks(BLOCK))
        .filter(move |((_, left), right)| {
            both(left, right).fold(false, |any, (left, right)| any | is_it(*left, *right))
        })
        .flat_map(move |((first, left), right)| {
            (first..).zip(both(left, right).map(|(left, right)| (*left, *right)))
        })
        .filter(move |(_, (left, right))| is_it(*left, *right))
}

/// Blocks, with the place of the first item of each.
fn blocks<T>(all: &[T]) -> impl Iterator<Item = (u32, &[T])> {
    (0..).step_by(BLOCK).zip(all.chunks(BLOCK))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn none_is_missed_and_each_is_where_it_was(
            all in prop::collection::vec((0_u16..8, 0_u16..8), 0..300),
        ) {
            let (left, right): (Vec<u16>, Vec<u16>) = all.iter().copied().unzip();
            let places = || (0..).zip(all.iter().copied());
            let sevens: Vec<(u32, u16)> =
                places().filter(|(_, (it, _))| *it == 7).map(|(place, (it, _))| (place, it)).collect();
            prop_assert_eq!(super::items(&left, |it| it == 7).collect::<Vec<_>>(), sevens);
            let equal: Vec<_> = places().filter(|(_, (left, right))| left == right).collect();
            prop_assert_eq!(super::pairs(&left, &right, |a, b| a == b).collect::<Vec<_>>(), equal);
        }
    }
}
