//! Rows that come to rest: for the idle time no packet went elsewhere than to their owner.

use std::sync::Arc;

use lb_common::row::{Row, Times};

use super::{
    change::Change,
    installed::{Installed, Service, linear_count},
    state::Patience,
};
use crate::config::model::Vip;

/// Seconds that it is watched how many flows go on in rows whose owner died.
const WATCH: u16 = 2;

/// What became of moving rows.
#[derive(Clone, Debug)]
pub struct Rested {
    /// The stores.
    pub changes: Vec<Change>,
    /// What is installed then.
    pub after: Installed,
    /// About how many flows of a service were with owners that died, where that was watched: as many as make so
    /// many slots busy by chance (linear counting). Those that were silent are not among them, and those that were
    /// opened since are.
    pub rehashed: Vec<(Vip, u64)>,
}

/// What becomes of moving rows now, and what is installed then. `times`: what is known of a row, by the
/// first element of its table and its slot. `refused`: when a flow last found no place among the tracked
/// ones.
pub fn rest(
    installed: &Installed,
    times: impl Fn(u32, u32) -> Times,
    now: u32,
    refused: u32,
) -> Rested {
    let mut after = installed.clone();
    let (mut changes, mut rehashed) = (Vec::new(), Vec::new());
    for (vip, service) in &mut after.services {
        let element = service.table.element();
        let patience = service.patience;
        let judge = |slot: u32, row: Row| {
            let clocks = Clocks {
                times: times(element, slot),
                now,
                refused,
            };
            clocks.judge(row, patience)
        };
        let changed = service
            .moving()
            .filter_map(|(slot, row)| Some((slot, judge(slot, row)?)));
        let rows: Vec<(u32, Row)> = changed.collect();
        let (all, busy) = service.watched(&rows, |slot| !times(element, slot).is_unseen());
        if all > 0 {
            rehashed.push((*vip, linear_count(all, busy)));
        }
        if !rows.is_empty() {
            service.set_rows(&rows);
            changes.push(Change::Rest { element, rows });
        }
    }
    Rested {
        changes,
        after,
        rehashed,
    }
}

struct Clocks {
    times: Times,
    now: u32,
    refused: u32,
}

impl Clocks {
    /// What becomes of a moving row, if anything does.
    fn judge(&self, row: Row, patience: Patience) -> Option<Row> {
        let Patience { idle, deadline, .. } = patience;
        let age = self.times.old(self.now);
        if row.is_rehashed() {
            return (age >= WATCH).then(|| at_rest(row));
        }
        let is_late = deadline > 0 && age >= deadline;
        let since_refused = self.now.saturating_sub(self.refused);
        let has_learned = age >= idle && since_refused >= idle.into();
        let has_refused = self.refused > 0 && since_refused <= age.into();
        let is_quiet = self.times.quiet(self.now) >= idle;
        let knows_all = !patience.learns || row.misses_are_new() || row.primary() == row.old();
        if is_late || is_quiet && knows_all {
            Some(at_rest(row))
        } else if has_refused && is_reset(row) {
            // New connections go first.
            Some(Row::moving(owner(row), owner(row)))
        } else {
            (has_learned && !knows_all).then(|| row.learned())
        }
    }
}

fn at_rest(row: Row) -> Row {
    Row::stable(owner(row))
}

fn owner(row: Row) -> u16 {
    u16::try_from(row.primary()).unwrap_or(Row::NONE)
}

/// Whether flows of a row that are not tracked are reset, and others may be opened.
fn is_reset(row: Row) -> bool {
    row.old() == u32::from(Row::NONE) && owner(row) != Row::NONE
}

impl Service {
    /// Whether flows may be elsewhere than their rows say.
    pub(super) fn is_moving(&self) -> bool {
        self.moving().next().is_some()
    }

    /// How many of these rows are watched, and how many of them are busy.
    fn watched(&self, rows: &[(u32, Row)], is_busy: impl Fn(u32) -> bool) -> (u32, u32) {
        let row = |slot: u32| self.rows.get(slot as usize);
        let slots = rows.iter().map(|(slot, _)| *slot);
        let watched = slots.filter(|slot| row(*slot).is_some_and(|row| row.is_rehashed()));
        watched.fold((0, 0), |(all, busy), slot| {
            (all + 1, busy + u32::from(is_busy(slot)))
        })
    }

    /// Takes note of rows.
    pub(super) fn set_rows(&mut self, rows: &[(u32, Row)]) {
        let installed = Arc::make_mut(&mut self.rows);
        for &(slot, row) in rows {
            if let Some(place) = installed.get_mut(slot as usize) {
                *place = row;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        idle: 60,
        deadline: 3600,
        resets: false,
        learns: false,
        hands_over: false,
        refuses: false,
        affinity: 0,
    };

    fn judge(row: Row, learns: bool, elsewhere: u32, changed: u32, refused: u32) -> Option<Row> {
        let times = Times {
            elsewhere: Times::at(elsewhere).elsewhere,
            changed: Times::at(changed).changed,
        };
        let clocks = Clocks {
            times,
            now: 10_000,
            refused,
        };
        let patience = Patience { learns, ..PATIENCE };
        clocks.judge(row, patience)
    }

    #[test]
    fn a_tcp_row_rests_when_nothing_went_elsewhere_for_the_idle_time() {
        let judge = |elsewhere, changed| judge(Row::moving(1, 2), false, elsewhere, changed, 0);
        assert_eq!(judge(9_941, 9_900), None);
        assert_eq!(judge(9_940, 9_900), Some(Row::stable(1)));
        assert_eq!(judge(9_999, 6_401), None);
        assert_eq!(judge(9_999, 6_400), Some(Row::stable(1)));
    }

    #[test]
    fn a_udp_row_learns_first() {
        let row = Row::moving(1, 2);
        let judge = |row, changed, refused| judge(row, true, 9_000, changed, refused);
        assert_eq!(judge(row, 9_941, 0), None);
        assert_eq!(judge(row, 9_940, 9_950), None);
        assert_eq!(judge(row, 9_940, 0), Some(row.learned()));
        assert_eq!(judge(row.learned(), 9_940, 0), Some(Row::stable(1)));
        assert_eq!(judge(Row::moving(1, 1), 9_940, 9_999), Some(Row::stable(1)));
    }

    #[test]
    fn a_row_whose_owner_died_is_watched_for_a_moment() {
        let judge = |changed| judge(Row::rehashed(1), false, 9_999, changed, 0);
        assert_eq!(judge(9_999), None);
        assert_eq!(judge(9_998), Some(Row::stable(1)));
    }

    #[test]
    fn a_row_whose_flows_are_reset_gives_way_to_new_ones() {
        let row = Row::moving(1, Row::NONE);
        let judge = |refused| judge(row, false, 9_999, 9_900, refused);
        assert_eq!(judge(0), None);
        assert_eq!(judge(9_899), None);
        assert_eq!(judge(9_900), Some(Row::moving(1, 1)));
    }

    #[test]
    fn a_row_without_owner_is_empty_at_rest() {
        let row = Row::moving(Row::NONE, 2);
        assert_eq!(judge(row, false, 0, 0, 0), Some(Row::EMPTY));
    }
}
