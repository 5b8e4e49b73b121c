//! Whether balancers have the same slot tables: a state machine without clock.

use std::collections::{BTreeMap, BTreeSet};

use super::news::TableNews;
use crate::config::model::Vip;

/// Looks, one a second, that a difference must last to be one: a change reaches balancers one after the
/// other.
const LASTS: u32 = 5;

/// What a peer's tables are compared with, and what came of it.
#[derive(Debug, Default)]
pub struct Agreement {
    tables: Option<Vec<TableNews>>,
    looks: u32,
    /// What was said last.
    said: BTreeSet<Vip>,
}

/// What is to be said of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that was not said.
    Nothing,
    /// These differ, for some seconds already.
    Differ(BTreeSet<Vip>),
    /// None differs any more.
    Agree,
}

impl Agreement {
    /// Takes note of a peer's tables.
    pub fn heard(&mut self, tables: Vec<TableNews>) {
        self.tables = Some(tables);
    }

    /// Services whose tables differ, or that one side has alone.
    #[must_use]
    pub fn differs(&self, own: &[TableNews]) -> BTreeSet<Vip> {
        let Some(theirs) = &self.tables else {
            return BTreeSet::new();
        };
        let (own, theirs) = (by_vip(own), by_vip(theirs));
        let vips = own.keys().chain(theirs.keys());
        vips.filter(|vip| own.get(*vip) != theirs.get(*vip))
            .copied()
            .collect()
    }

    /// What is to be said after a look, one a second. `is_partial`: whether backends of a service take only a part
    /// here, which is each balancer's own, so that its tables may well differ for now.
    pub fn look(&mut self, own: &[TableNews], is_partial: impl Fn(Vip) -> bool) -> Verdict {
        let mut differs = self.differs(own);
        differs.retain(|vip| self.said.contains(vip) || !is_partial(*vip));
        if differs == self.said {
            self.looks = 0;
            return Verdict::Nothing;
        }
        self.looks += 1;
        if differs.is_empty() {
            self.looks = 0;
            self.said.clear();
            return Verdict::Agree;
        }
        if self.looks < LASTS {
            return Verdict::Nothing;
        }
        self.looks = 0;
        self.said.clone_from(&differs);
        Verdict::Differ(differs)
    }
}

fn by_vip(tables: &[TableNews]) -> BTreeMap<Vip, (u32, u64)> {
    let entry = |table: &TableNews| (table.vip, (table.slots, table.checksum));
    tables.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(checksums: &[(&str, u64)]) -> Vec<TableNews> {
        let table = |(vip, checksum): &(&str, u64)| TableNews {
            vip: vip.parse().unwrap(),
            slots: 4096,
            checksum: *checksum,
        };
        checksums.iter().map(table).collect()
    }

    const WEB: &str = "203.0.113.10:80/tcp";
    const DNS: &str = "203.0.113.10:53/udp";

    #[test]
    fn a_difference_must_last() {
        let (own, others) = (tables(&[(WEB, 1), (DNS, 2)]), tables(&[(WEB, 3), (DNS, 2)]));
        let mut agreement = Agreement::default();
        assert_eq!(agreement.look(&own, |_| false), Verdict::Nothing);
        agreement.heard(others);
        let differ: BTreeSet<Vip> = [WEB.parse().unwrap()].into();
        assert_eq!(agreement.differs(&own), differ);
        for _ in 1..LASTS {
            assert_eq!(agreement.look(&own, |_| false), Verdict::Nothing);
        }
        assert_eq!(agreement.look(&own, |_| false), Verdict::Differ(differ));
        assert_eq!(agreement.look(&own, |_| false), Verdict::Nothing);
        agreement.heard(own.clone());
        assert_eq!(agreement.look(&own, |_| false), Verdict::Agree);
        assert_eq!(agreement.look(&own, |_| false), Verdict::Nothing);
    }

    #[test]
    fn a_difference_is_said_once_all_take_all() {
        let own = tables(&[(WEB, 1)]);
        let mut agreement = Agreement::default();
        agreement.heard(tables(&[(WEB, 2)]));
        for _ in 0..2 * LASTS {
            assert_eq!(agreement.look(&own, |_| true), Verdict::Nothing);
            assert_eq!(agreement.differs(&own).len(), 1);
        }
        for _ in 1..LASTS {
            assert_eq!(agreement.look(&own, |_| false), Verdict::Nothing);
        }
        let differs = agreement.look(&own, |_| false);
        assert!(matches!(differs, Verdict::Differ(_)), "{differs:?}");
        // What was said is not taken back for it.
        assert_eq!(agreement.look(&own, |_| true), Verdict::Nothing);
    }

    #[test]
    fn a_difference_that_passes_is_none() {
        let own = tables(&[(WEB, 1)]);
        let mut agreement = Agreement::default();
        for _ in 0..10 {
            agreement.heard(tables(&[(WEB, 2)]));
            assert_eq!(agreement.look(&own, |_| false), Verdict::Nothing);
            agreement.heard(own.clone());
            assert_eq!(agreement.look(&own, |_| false), Verdict::Nothing);
        }
    }

    #[test]
    fn a_service_that_one_has_alone_differs() {
        let mut agreement = Agreement::default();
        agreement.heard(tables(&[(WEB, 1)]));
        let own = tables(&[(DNS, 1)]);
        assert_eq!(agreement.differs(&own).len(), 2);
    }
}
