//! A row of a service's slot table: who owns the slot, and who owned it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One slot: `primary` 15 bits, `old` 15 bits, one bit that says whether the flow table has a
/// say, one free.
///
/// Owners are indices into the service's own extent of `BACKENDS` (1 is its first backend, 0 its
/// header). Rows are changed by plain four-byte stores while the data path reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Row(pub u32);

/// Slots that share one element of `SLOTS`: array elements are rounded up to eight bytes, so that a
/// row each would waste half of the map.
pub const ROWS_PER_ELEMENT: u32 = 16;

impl Row {
    /// In the place of an owner: nobody.
    pub const NONE: u16 = 0x7fff;
    /// No owner at all.
    pub const EMPTY: Self = Self::stable(Self::NONE);

    const OWNER: u32 = 0x7fff;
    const OLD_SHIFT: u32 = 15;
    const LOOKUP: u32 = 1 << 30;

    /// A row without history: every packet goes to `primary`.
    #[must_use]
    pub const fn stable(primary: u16) -> Self {
        let primary = primary as u32 & Self::OWNER;
        Self(primary | primary << Self::OLD_SHIFT)
    }

    /// The owner by the slot table.
    #[inline(always)]
    #[must_use]
    pub const fn primary(self) -> u32 {
        self.0 & Self::OWNER
    }

    /// The owner of the flows that are older than the row's last change.
    #[must_use]
    pub const fn old(self) -> u32 {
        self.0 >> Self::OLD_SHIFT & Self::OWNER
    }

    /// Whether the flow table has a say.
    #[must_use]
    pub const fn lookup(self) -> bool {
        self.0 & Self::LOOKUP != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stable_row_has_one_owner_and_no_lookup() {
        let row = Row::stable(41);
        assert_eq!((row.primary(), row.old(), row.lookup()), (41, 41, false));
        assert_eq!(Row::EMPTY.primary(), u32::from(Row::NONE));
    }
}
