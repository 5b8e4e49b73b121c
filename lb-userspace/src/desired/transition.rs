//! From one owner of a slot to the next, without breaking a flow that need not break.

use lb_common::row::Row;

/// The row of a slot that is to have this owner. `keeps`: whether a backend is there and keeps the flows
/// that it has.
///
/// Every live flow that is not tracked is on the row's `old` owner; so that changes when it dies, and where
/// it says what it said before: a row at rest has its flows on `primary`, and one that has learned all
/// flows of `old` has those that found no place there, too.
pub(super) fn next(row: Row, owner: u16, keeps: impl Fn(u16) -> bool) -> Row {
    let is_at_rest = !row.is_moving();
    if (row.primary(), is_at_rest) == (owner.into(), true) {
        return row;
    }
    let old = if is_at_rest || row.misses_are_new() {
        row.primary()
    } else {
        row.old()
    };
    let old = offset(old).filter(|old| keeps(*old));
    match old {
        // Nothing is lost that was not lost before; but others may have flows that are tracked.
        None if is_at_rest => Row::stable(owner),
        None => Row::moving(owner, owner),
        Some(_) if row.primary() == u32::from(owner) && keeps_old(row, &keeps) => row,
        Some(old) => Row::moving(owner, old),
    }
}

/// Whether a moving row may go on as it is.
fn keeps_old(row: Row, keeps: impl Fn(u16) -> bool) -> bool {
    offset(row.old()).is_some_and(keeps)
}

/// An owner that there is.
fn offset(owner: u32) -> Option<u16> {
    u16::try_from(owner)
        .ok()
        .filter(|owner| *owner != Row::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u16 = 1;
    const B: u16 = 2;
    const C: u16 = 3;

    fn all(_: u16) -> bool {
        true
    }

    fn but(dead: u16) -> impl Fn(u16) -> bool {
        move |owner| owner != dead
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
        assert_eq!(next(Row::stable(A), B, but(A)), Row::stable(B));
        assert_eq!(next(Row::moving(B, A), B, but(A)), Row::moving(B, B));
        assert_eq!(next(Row::moving(B, A), C, but(A)), Row::moving(C, C));
        assert_eq!(next(Row::stable(A), Row::NONE, but(A)), Row::EMPTY);
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
