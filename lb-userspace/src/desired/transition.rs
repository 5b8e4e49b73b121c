//! From one owner of a slot to the next, without breaking a flow that need not break.

use lb_common::row::Row;

/// What becomes of the flows of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flows {
    /// Its backend is there and keeps them.
    Stay,
    /// There are none.
    None,
    /// They go with the row, to a backend that knows nothing of them.
    Move,
    /// They end, and their clients are told.
    AreReset,
}

/// The row of a slot that is to have this owner. `flows`: what becomes of those of an owner, or of nobody.
///
/// Every live flow that is not tracked is on the row's `old` owner; so that changes when it dies, and where
/// it says what it said before: a row at rest has its flows on `primary`, and one that has learned all
/// flows of `old` has those that found no place there, too. Where nobody is `old`, none is alive that is not
/// tracked.
pub(super) fn next(row: Row, owner: u16, flows: impl Fn(u16) -> Flows) -> Row {
    let is_at_rest = !row.is_moving() || row.is_rehashed();
    if (row.primary(), is_at_rest) == (owner.into(), true) {
        return row;
    }
    let old = if is_at_rest || row.misses_are_new() {
        offset(row.primary())
    } else {
        offset(row.old())
    };
    match flows(old) {
        _ if row == Row::EMPTY => Row::stable(owner),
        Flows::None if is_at_rest => Row::stable(owner),
        Flows::Move if is_at_rest => Row::rehashed(owner),
        // Nothing is lost that was not lost before; but others may have flows that are tracked.
        Flows::None | Flows::Move => Row::moving(owner, owner),
        Flows::AreReset => Row::moving(owner, Row::NONE),
        Flows::Stay if row.primary() == u32::from(owner) && keeps_old(row, &flows) => row,
        Flows::Stay => Row::moving(owner, old),
    }
}

/// Whether a moving row may go on as it is.
fn keeps_old(row: Row, flows: impl Fn(u16) -> Flows) -> bool {
    flows(offset(row.old())) == Flows::Stay
}

fn offset(owner: u32) -> u16 {
    u16::try_from(owner).unwrap_or(Row::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u16 = 1;
    const B: u16 = 2;
    const C: u16 = 3;

    fn all(owner: u16) -> Flows {
        but(Row::NONE)(owner)
    }

    fn but(dead: u16) -> impl Fn(u16) -> Flows {
        move |owner| match owner {
            Row::NONE => Flows::Move,
            owner if owner == dead => Flows::Move,
            _ => Flows::Stay,
        }
    }

    fn reset(dead: u16) -> impl Fn(u16) -> Flows {
        move |owner| match owner {
            Row::NONE => Flows::AreReset,
            owner if owner == dead => Flows::AreReset,
            _ => Flows::Stay,
        }
    }

    #[test]
    fn a_row_at_rest_stays_with_its_owner() {
        assert_eq!(next(Row::stable(A), A, but(A)), Row::stable(A));
        assert_eq!(next(Row::EMPTY, Row::NONE, all), Row::EMPTY);
    }

    #[test]
    fn flows_stay_with_an_owner_that_lives() {
        assert_eq!(next(Row::stable(A), B, all), Row::moving(B, A));
        assert_eq!(
            next(Row::stable(A), Row::NONE, all),
            Row::moving(Row::NONE, A)
        );
    }

    #[test]
    fn the_flows_of_an_owner_that_died_go_with_the_row() {
        assert_eq!(next(Row::stable(A), B, but(A)), Row::rehashed(B));
        assert_eq!(next(Row::rehashed(A), A, all), Row::rehashed(A));
        assert_eq!(next(Row::rehashed(A), B, all), Row::moving(B, A));
        assert_eq!(next(Row::rehashed(A), B, but(A)), Row::rehashed(B));
        assert_eq!(next(Row::moving(B, A), B, but(A)), Row::moving(B, B));
        assert_eq!(next(Row::moving(B, A), C, but(A)), Row::moving(C, C));
        assert_eq!(next(Row::stable(A), Row::NONE, but(A)), Row::EMPTY);
    }

    #[test]
    fn the_flows_of_an_owner_that_died_may_be_reset() {
        let none = Row::moving(B, Row::NONE);
        assert_eq!(next(Row::stable(A), B, reset(A)), none);
        assert_eq!(next(Row::moving(B, A), B, reset(A)), none);
        assert_eq!(next(none, B, reset(A)), none);
        assert_eq!(next(none, A, reset(B)), Row::moving(A, Row::NONE));
        assert_eq!(next(Row::moving(B, A), A, reset(B)), Row::moving(A, A));
        assert_eq!(next(Row::EMPTY, B, reset(A)), Row::stable(B));
        // Until they are not to be any more.
        assert_eq!(next(none, B, all), Row::moving(B, B));
    }

    #[test]
    fn primary_may_change_at_any_time_and_old_is_history() {
        assert_eq!(next(Row::moving(B, A), C, all), Row::moving(C, A));
        assert_eq!(next(Row::moving(B, A), A, all), Row::moving(A, A));
        assert_eq!(next(Row::moving(B, A), B, all), Row::moving(B, A));
        assert_eq!(next(Row::moving(Row::NONE, A), B, all), Row::moving(B, A));
    }

    #[test]
    fn a_row_that_was_nobodys_has_no_history() {
        assert_eq!(next(Row::EMPTY, A, all), Row::stable(A));
    }

    #[test]
    fn a_row_that_learned_has_its_new_flows_on_primary() {
        let row = Row::moving(B, A).learned();
        assert_eq!(next(row, B, all), row);
        assert_eq!(next(row, C, all), Row::moving(C, B));
        assert_eq!(next(row, C, but(B)), Row::moving(C, C));
    }
}
