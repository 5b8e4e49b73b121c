//! The difference between routes as they are and as they should be. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

/// A route that bears xlb's mark, whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::net) struct Marked {
    /// Where it leads.
    pub(in crate::net) prefix: IpNet,
    /// Its metric.
    pub(in crate::net) metric: u32,
    /// Type of service that it is for; 0: any.
    pub(in crate::net) tos: u8,
    /// Whether packets end there, and without a word: what routing software takes as a host's own.
    pub(in crate::net) is_blackhole: bool,
}

impl Marked {
    /// The route that announces an address.
    pub(in crate::net) fn announces(address: IpAddr, metric: u32) -> Self {
        Self {
            prefix: address.into(),
            metric,
            tos: 0,
            is_blackhole: true,
        }
    }

    /// Whether the kernel takes only one of the two in a table.
    fn excludes(&self, other: &Self) -> bool {
        let key = |route: &Self| (route.prefix, route.metric, route.tos);
        key(self) == key(other)
    }
}

/// A step from what is to what should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Change {
    /// A route is missing.
    Add(Marked),
    /// A route is none that is wanted.
    Remove(Marked),
}

/// The steps. What is in the way of another route goes first, all else last, so that an address that is
/// announced before and after is announced in between, too, where the kernel allows that.
pub(in crate::net) fn diff(wanted: &BTreeSet<Marked>, found: &BTreeSet<Marked>) -> Vec<Change> {
    let missing = wanted.difference(found).copied();
    let (in_the_way, others): (Vec<Marked>, Vec<Marked>) = found
        .difference(wanted)
        .partition(|route| wanted.iter().any(|other| route.excludes(other)));
    let first = in_the_way.into_iter().map(Change::Remove);
    let last = others.into_iter().map(Change::Remove);
    first.chain(missing.map(Change::Add)).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routes() -> impl Strategy<Value = BTreeSet<Marked>> {
        let route = (0_u8..4, any::<bool>(), 1_u32..3, 0_u8..2, any::<bool>());
        let route = route.prop_map(|(host, v6, metric, tos, is_blackhole)| {
            let address: IpAddr = if v6 {
                format!("2001:db8::{host}").parse().unwrap()
            } else {
                [203, 0, 113, host].into()
            };
            Marked {
                tos,
                is_blackhole,
                ..Marked::announces(address, metric)
            }
        });
        proptest::collection::btree_set(route, 0..12)
    }

    /// As the kernel has them: of those that exclude each other, one.
    fn possible(routes: BTreeSet<Marked>) -> BTreeSet<Marked> {
        let mut table: BTreeSet<Marked> = BTreeSet::new();
        for route in routes {
            if !table.iter().any(|other| other.excludes(&route)) {
                table.insert(route);
            }
        }
        table
    }

    proptest! {
        #[test]
        fn the_steps_lead_there_and_no_route_is_in_the_way_of_another(
            wanted in routes(),
            found in routes(),
        ) {
            let (wanted, found) = (possible(wanted), possible(found));
            let mut table = found.clone();
            for change in diff(&wanted, &found) {
                match change {
                    Change::Add(route) => {
                        prop_assert!(!table.iter().any(|other| other.excludes(&route)));
                        table.insert(route);
                    }
                    Change::Remove(route) => prop_assert!(table.remove(&route)),
                }
                let kept = wanted.intersection(&found);
                prop_assert!(kept.into_iter().all(|route| table.contains(route)));
            }
            prop_assert_eq!(table, wanted);
        }
    }

    #[test]
    fn another_metric_is_announced_before_the_old_one_is_withdrawn() {
        let vip = "203.0.113.10".parse().unwrap();
        let [old, new] = [1, 2].map(|metric| Marked::announces(vip, metric));
        let steps = diff(&[new].into(), &[old].into());
        assert_eq!(steps, [Change::Add(new), Change::Remove(old)]);
    }
}
