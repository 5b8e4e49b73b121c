//! Rows that come to rest: for the idle time no packet went elsewhere than to their owner.

use std::sync::Arc;

use lb_common::row::{Row, Times};

use super::{
    change::Change,
    installed::{Installed, Service},
    state::Patience,
};
use crate::config::model::{Protocol, Vip};

/// What becomes of moving rows now, and what is installed then. `times`: what is known of a row, by the
/// first element of its table and its slot. `refused`: when a flow last found no place among the tracked
/// ones.
pub fn rest(
    installed: &Installed,
    times: impl Fn(u32, u32) -> Times,
    now: u32,
    refused: u32,
) -> (Vec<Change>, Installed) {
    let mut after = installed.clone();
    let mut changes = Vec::new();
    for (vip, service) in &mut after.services {
        let element = service.table.element();
        let judge = |slot: u32, row: Row| {
            let clocks = Clocks {
                times: times(element, slot),
                now,
                refused,
            };
            clocks.judge(row, *vip, service.patience)
        };
        let changed = service
            .moving()
            .filter_map(|(slot, row)| Some((slot, judge(slot, row)?)));
        let rows: Vec<(u32, Row)> = changed.collect();
        if !rows.is_empty() {
            service.set_rows(&rows);
            changes.push(Change::Rest { element, rows });
        }
    }
    (changes, after)
}

struct Clocks {
    times: Times,
    now: u32,
    refused: u32,
}

impl Clocks {
    /// What becomes of a moving row, if anything does.
    fn judge(&self, row: Row, vip: Vip, patience: Patience) -> Option<Row> {
        let Patience { idle, deadline } = patience;
        let age = self.times.old(self.now);
        let is_late = deadline > 0 && age >= deadline;
        let has_learned = age >= idle && self.now.saturating_sub(self.refused) >= idle.into();
        let is_quiet = self.times.quiet(self.now) >= idle;
        match vip.protocol {
            _ if is_late => Some(at_rest(row)),
            Protocol::Tcp if is_quiet => Some(at_rest(row)),
            Protocol::Udp if row.misses_are_new() || row.primary() == row.old() => {
                is_quiet.then(|| at_rest(row))
            }
            Protocol::Udp if has_learned => Some(row.learned()),
            Protocol::Tcp | Protocol::Udp => None,
        }
    }
}

fn at_rest(row: Row) -> Row {
    Row::stable(u16::try_from(row.primary()).unwrap_or(Row::NONE))
}

impl Service {
    /// Whether flows may be elsewhere than their rows say.
    pub(super) fn is_moving(&self) -> bool {
        self.moving().next().is_some()
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
    };

    fn judge(row: Row, vip: &str, elsewhere: u32, changed: u32, refused: u32) -> Option<Row> {
        let times = Times {
            elsewhere: Times::at(elsewhere).elsewhere,
            changed: Times::at(changed).changed,
        };
        let clocks = Clocks {
            times,
            now: 10_000,
            refused,
        };
        clocks.judge(row, vip.parse().unwrap(), PATIENCE)
    }

    #[test]
    fn a_tcp_row_rests_when_nothing_went_elsewhere_for_the_idle_time() {
        let judge = |elsewhere, changed| {
            judge(Row::moving(1, 2), "192.0.2.1:80/tcp", elsewhere, changed, 0)
        };
        assert_eq!(judge(9_941, 9_900), None);
        assert_eq!(judge(9_940, 9_900), Some(Row::stable(1)));
        assert_eq!(judge(9_999, 6_401), None);
        assert_eq!(judge(9_999, 6_400), Some(Row::stable(1)));
    }

    #[test]
    fn a_udp_row_learns_first() {
        let row = Row::moving(1, 2);
        let judge = |row, changed, refused| judge(row, "192.0.2.1:53/udp", 9_000, changed, refused);
        assert_eq!(judge(row, 9_941, 0), None);
        assert_eq!(judge(row, 9_940, 9_950), None);
        assert_eq!(judge(row, 9_940, 0), Some(row.learned()));
        assert_eq!(judge(row.learned(), 9_940, 0), Some(Row::stable(1)));
        assert_eq!(judge(Row::moving(1, 1), 9_940, 9_999), Some(Row::stable(1)));
    }

    #[test]
    fn a_row_without_owner_is_empty_at_rest() {
        let row = Row::moving(Row::NONE, 2);
        assert_eq!(judge(row, "192.0.2.1:80/tcp", 0, 0, 0), Some(Row::EMPTY));
    }
}
