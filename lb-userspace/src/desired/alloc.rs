//! Which parts of a map are in use: ranges of its indices.

use std::collections::BTreeMap;

/// Taken ranges of the indices `0..capacity`; the first gap that is large enough is taken next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    capacity: u32,
    /// Begin → length; disjoint, none empty.
    taken: BTreeMap<u32, u32>,
}

impl Ranges {
    /// Nothing taken.
    #[must_use]
    pub const fn new(capacity: u32) -> Self {
        Self {
            capacity,
            taken: BTreeMap::new(),
        }
    }

    /// The map's length.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Allows for more indices.
    pub(super) fn grow(&mut self, capacity: u32) {
        self.capacity = self.capacity.max(capacity);
    }

    /// Indices in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.taken.values().sum()
    }

    /// Takes `length` indices in a row; their first, or `None` where no gap is that large.
    pub fn take(&mut self, length: u32) -> Option<u32> {
        let begin = self.gap(length)?;
        self.taken.insert(begin, length);
        Some(begin)
    }

    /// Takes these very indices; `false` where one is in use or outside of the map.
    #[must_use]
    pub fn reserve(&mut self, begin: u32, length: u32) -> bool {
        let Some(end) = begin
            .checked_add(length)
            .filter(|end| *end <= self.capacity)
        else {
            return false;
        };
        let before = self.taken.range(..end).next_back();
        let free = before.is_none_or(|(other, size)| other + size <= begin);
        if free {
            self.taken.insert(begin, length);
        }
        free
    }

    /// Gives back the range that begins here.
    pub fn release(&mut self, begin: u32) {
        self.taken.remove(&begin);
    }

    fn gap(&self, length: u32) -> Option<u32> {
        let mut begin = 0;
        for (&other, &size) in &self.taken {
            if other - begin >= length {
                return Some(begin);
            }
            begin = other + size;
        }
        (self.capacity - begin >= length).then_some(begin)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is taken and given back, no index is in use twice, and a range is refused only
        /// where no gap fits it.
        #[test]
        fn ranges_never_overlap(steps in prop::collection::vec((0u32..40, any::<bool>()), 1..60)) {
            let mut ranges = Ranges::new(100);
            let mut owner = [None; 100];
            let mut live: Vec<(u32, u32)> = Vec::new();
            for (number, (length, give_back)) in steps.into_iter().enumerate() {
                if give_back && !live.is_empty() {
                    let (begin, length) = live.swap_remove(length as usize % live.len());
                    ranges.release(begin);
                    owner[begin as usize..(begin + length) as usize].fill(None);
                } else if let Some(begin) = ranges.take(length + 1) {
                    let range = &mut owner[begin as usize..=(begin + length) as usize];
                    prop_assert!(range.iter().all(Option::is_none));
                    range.fill(Some(number));
                    live.push((begin, length + 1));
                } else {
                    let longest = owner.split(Option::is_some).map(<[_]>::len).max();
                    prop_assert!(longest <= Some(length as usize));
                }
            }
            let used = owner.iter().flatten().count();
            prop_assert_eq!(ranges.used() as usize, used);
        }
    }

    #[test]
    fn a_reserved_range_must_be_free_and_inside() {
        let mut ranges = Ranges::new(10);
        assert!(ranges.reserve(4, 3));
        for (begin, length) in [(4, 1), (3, 2), (6, 1), (0, 10), (8, 3), (u32::MAX, 2)] {
            assert!(!ranges.reserve(begin, length), "{begin}+{length}");
        }
        assert!(ranges.reserve(7, 3) && ranges.reserve(0, 4));
    }
}
