//! A backend that takes only a part of what is its own: which part.
//!
//! Invariant: the slots that a backend is admitted to by a part are among those that it is admitted to by a larger
//! one. So a part that grows moves slots to that backend alone, and one that shrinks moves them from it alone.

use super::identity::{GOLDEN, mix};

/// How much of its slots a backend takes, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part(u8);

impl Part {
    /// None, unless nobody else takes any.
    pub const NONE: Self = Self(0);
    /// All.
    pub const WHOLE: Self = Self(100);

    /// So many hundredths; more than 100 are 100.
    #[must_use]
    pub const fn of(percent: u8) -> Self {
        if percent < Self::WHOLE.0 {
            Self(percent)
        } else {
            Self::WHOLE
        }
    }

    /// This part of another one; some of some is some.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        let percent = u16::from(self.0) * u16::from(other.0);
        let least = u16::from(percent > 0);
        u8::try_from((percent / 100).max(least)).map_or(Self::WHOLE, Self::of)
    }

    /// Hundredths.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }
}

/// What a live backend is to a slot. Of several that are the same to it, its configured owner comes first, and then
/// the one that it ranks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It takes none.
    Idle,
    /// It takes some, and not this one.
    Spare,
    /// It takes this one.
    Admitted,
}

impl Standing {
    /// The best first.
    pub(super) const ALL: [Self; 3] = [Self::Admitted, Self::Spare, Self::Idle];
}

/// Which slots a backend takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    mask: u64,
    pub(super) part: Part,
}

impl Gate {
    /// `id` is the backend's. What is drawn has nothing to do with its lots: the slots that it likes best are no
    /// likelier among those that it takes.
    pub(super) const fn new(id: u64, part: Part) -> Self {
        let mask = mix(id.wrapping_add(GOLDEN.wrapping_mul(3)));
        Self { mask, part }
    }

    /// What it is to the slot of this key.
    pub(super) const fn standing(self, slot_key: u64) -> Standing {
        match self.part {
            Part::WHOLE => Standing::Admitted,
            Part::NONE => Standing::Idle,
            Part(percent) => {
                // The upper half, brought down to 0..100.
                let drawn = ((mix(slot_key ^ self.mask) >> 32) * Part::WHOLE.0 as u64) >> 32;
                if drawn < percent as u64 {
                    Standing::Admitted
                } else {
                    Standing::Spare
                }
            }
        }
    }
}
