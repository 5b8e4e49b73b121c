//! A row of a service's slot table: who owns the slot, and who owned it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::bits;

/// One slot: `primary` 15 bits, `old` 15 bits, [`LOOKUP`](Self::is_stable), [`MISSES_ARE_NEW`](Self::misses_are_new).
///
/// Owners are indices into the service's own extent of `BACKENDS` (1 is its first backend, 0 its
/// header). Rows are changed by plain four-byte stores while the data path reads them.
///
/// A *stable* row sends every packet to `primary`, and nobody remembers anything. A *moving* one had
/// another owner, whose flows go on: every live flow of the row that is not among the tracked ones
/// ([`tracked`](crate::tracked)) is on `old`, and one that is tracked is where its entry says. So
/// `primary` may change at any time, also back to `old`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Row(pub u32);

/// Slots that share one element of `SLOTS`: array elements are rounded up to eight bytes, so that a
/// row each would waste half of the map.
pub const ROWS_PER_ELEMENT: u32 = 16;

impl Row {
    /// In the place of an owner: nobody.
    pub const NONE: u16 = 0x7fff;
    /// No owner at all, and no flow. Not stable, so that the common path compares once.
    pub const EMPTY: Self = Self(u32::MAX);

    const OWNER: u32 = 0x7fff;
    const OLD_SHIFT: u32 = 15;
    const LOOKUP: u32 = 1 << 30;
    const MISSES_ARE_NEW: u32 = 1 << 31;

    /// A row without history: every packet goes to `primary`; [`Row::EMPTY`] where that is nobody.
    #[must_use]
    pub const fn stable(primary: u16) -> Self {
        if primary == Self::NONE {
            return Self::EMPTY;
        }
        let primary = primary as u32 & Self::OWNER;
        Self(primary | primary << Self::OLD_SHIFT)
    }

    /// A row whose flows are on `old` where they are not tracked, and whose new ones go to `primary`.
    #[must_use]
    pub const fn moving(primary: u16, old: u16) -> Self {
        let (primary, old) = (primary as u32 & Self::OWNER, old as u32 & Self::OWNER);
        Self(primary | old << Self::OLD_SHIFT | Self::LOOKUP)
    }

    /// A moving row of a protocol without opening packets whose flows on `old` are all tracked: what is
    /// not is new.
    #[must_use]
    pub const fn learned(self) -> Self {
        Self(self.0 | Self::MISSES_ARE_NEW)
    }

    /// A row whose owner died, so that its flows are with another one, which resets them: for a while it is
    /// seen how many those were.
    #[must_use]
    pub const fn rehashed(primary: u16) -> Self {
        Self::moving(primary, primary).learned()
    }

    /// Whether it is one whose flows were with an owner that died, and are counted.
    #[inline(always)]
    #[must_use]
    pub const fn is_rehashed(self) -> bool {
        self.misses_are_new() && self.is_moving() && self.primary() == self.old()
    }

    /// The owner by the slot table.
    #[inline(always)]
    #[must_use]
    pub const fn primary(self) -> u32 {
        self.0 & Self::OWNER
    }

    /// The owner of the flows that are older than the row's last change.
    #[inline(always)]
    #[must_use]
    pub const fn old(self) -> u32 {
        self.0 >> Self::OLD_SHIFT & Self::OWNER
    }

    /// Whether every packet goes to `primary`.
    #[inline(always)]
    #[must_use]
    pub const fn is_stable(self) -> bool {
        self.0 & Self::LOOKUP == 0
    }

    /// Whether tracked flows have a say.
    #[inline(always)]
    #[must_use]
    pub const fn is_moving(self) -> bool {
        !self.is_stable() && self.0 != Self::EMPTY.0
    }

    /// Whether a flow that is not tracked is a new one, without an opening packet.
    #[inline(always)]
    #[must_use]
    pub const fn misses_are_new(self) -> bool {
        self.0 & Self::MISSES_ARE_NEW != 0
    }
}

/// What is known of a moving row: when it last changed, and when a packet last went to another backend
/// than its `primary`. In the map `TIMES`, at the row's place in `SLOTS`; seconds modulo 2¹⁶.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(4))]
pub struct Times {
    /// Written by the data path, too.
    pub elsewhere: u16,
    /// Written with the row.
    pub changed: u16,
}

impl Times {
    /// A row that changes now.
    #[must_use]
    pub const fn at(now: u32) -> Self {
        let now = bits::low_word(now);
        Self {
            elsewhere: now,
            changed: now,
        }
    }

    /// A row that changes now, of which no packet was seen yet.
    #[must_use]
    pub const fn unseen(now: u32) -> Self {
        let now = bits::low_word(now);
        Self {
            elsewhere: now.wrapping_sub(1),
            changed: now,
        }
    }

    /// Whether none was seen since.
    #[must_use]
    pub const fn is_unseen(self) -> bool {
        self.elsewhere == self.changed.wrapping_sub(1)
    }

    /// Seconds since a packet went elsewhere.
    #[must_use]
    pub const fn quiet(self, now: u32) -> u16 {
        age(self.elsewhere, now)
    }

    /// Seconds since the row changed.
    #[must_use]
    pub const fn old(self, now: u32) -> u16 {
        age(self.changed, now)
    }
}

/// Another CPU may have read a later clock.
const fn age(stamp: u16, now: u32) -> u16 {
    const SLACK: u16 = 2;
    let age = bits::low_word(now).wrapping_add(SLACK).wrapping_sub(stamp);
    age.saturating_sub(SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stable_row_has_one_owner() {
        let row = Row::stable(41);
        assert_eq!((row.primary(), row.old(), row.is_stable()), (41, 41, true));
    }

    #[test]
    fn a_moving_row_has_two() {
        let row = Row::moving(41, 7);
        assert_eq!((row.primary(), row.old(), row.is_moving()), (41, 7, true));
        assert!(!row.misses_are_new());
        assert!(row.learned().misses_are_new());
    }

    #[test]
    fn an_empty_row_is_neither() {
        let empty = Row::stable(Row::NONE);
        assert_eq!(empty, Row::EMPTY);
        assert!(!empty.is_stable() && !empty.is_moving());
        assert!(Row::moving(Row::NONE, Row::NONE).is_moving());
    }

    #[test]
    fn a_row_whose_owner_died_has_one_owner_and_is_watched() {
        let row = Row::rehashed(41);
        assert!(row.is_rehashed() && row.is_moving());
        assert_eq!((row.primary(), row.old()), (41, 41));
        assert!(!Row::moving(41, 7).learned().is_rehashed());
        assert_eq!(Row::rehashed(Row::NONE), Row::EMPTY);
        assert!(!Row::EMPTY.is_rehashed());
        assert!(Times::unseen(0).is_unseen() && !Times::at(0).is_unseen());
    }

    #[test]
    fn a_row_is_quiet_since_its_last_packet_elsewhere() {
        let times = Times::at(0x1_0005);
        assert_eq!((times.quiet(0x1_0004), times.old(0x1_0005)), (0, 0));
        assert_eq!(times.quiet(0x1_0009), 4);
        assert_eq!(
            Times {
                elsewhere: 9,
                ..times
            }
            .old(0x1_000a),
            5
        );
    }
}
