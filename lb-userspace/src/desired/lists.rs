//! What stands in `RANGES`: services on several ports, and NAT backends of such services.

use std::collections::BTreeMap;

use lb_common::{
    directory::{Key, Kind},
    range::{LEN, Range, Ranges},
};
use zerocopy::FromZeros as _;

use super::{
    change::Change,
    claims::Claim,
    diff::{Planner, Refused, outgrown},
    installed::Installed,
    store::Region,
};
use crate::config::model::{Ports, Vip};

/// Element of `RANGES`, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) element: u32,
    pub(super) ranges: Vec<Range>,
}

/// By the key that names the element.
pub(super) type Lists = BTreeMap<Key, List>;

impl Planner<'_> {
    /// Writes the lists that differ into elements that nothing names; what the directory must say of
    /// all of them.
    pub(super) fn lists(&mut self) -> Result<BTreeMap<Key, u64>, Refused> {
        let mut before = core::mem::take(&mut self.next.lists);
        for (key, ranges) in wanted(&self.next) {
            if ranges.len() > LEN as usize {
                return Err(Refused::TooManyRanges {
                    found: ranges.len(),
                    most: LEN,
                });
            }
            let list = match before.remove(&key) {
                Some(list) if list.ranges == ranges => list,
                other => {
                    before.extend(other.map(|list| (key, list)));
                    self.place_list(ranges)?
                }
            };
            self.next.lists.insert(key, list);
        }
        let freed = before.into_values().map(|list| list.element);
        self.freed.lists.extend(freed);
        let lists = self.next.lists.iter();
        Ok(lists.map(|(key, l)| (*key, u64::from(l.element))).collect())
    }

    fn place_list(&mut self, ranges: Vec<Range>) -> Result<List, Refused> {
        let free = &mut self.next.list_elements;
        let (needs, has) = (free.used() + 1, free.capacity());
        let element = free.take(1);
        let element = element.ok_or_else(|| outgrown(Region::Ranges, needs, has))?;
        let value = filled(&ranges);
        self.prepare.push(Change::List { element, value });
        Ok(List { element, ranges })
    }
}

fn filled(ranges: &[Range]) -> Box<Ranges> {
    let mut element = Ranges::new_zeroed();
    for (place, range) in element.iter_mut().zip(ranges) {
        *place = *range;
    }
    Box::new(element)
}

/// Every list, as it must be.
fn wanted(installed: &Installed) -> BTreeMap<Key, Vec<Range>> {
    let mut lists = BTreeMap::<Key, Vec<Range>>::new();
    // In the order of precedence.
    for (vip, service) in &installed.services {
        if !vip.ports.is_one() {
            let ranges = lists.entry(services_key(*vip)).or_default();
            ranges.push(range(vip.ports, service.way()));
        }
    }
    for (key, claims) in &installed.claims {
        let of_ranges = claims.iter().filter(|claim| !claim.vip.ports.is_one());
        for claim in of_ranges {
            if let Some(pair) = installed.pair_of(claim) {
                let ranges = lists.entry(*key).or_default();
                ranges.push(range(claim.ports(), u64::from(pair)));
            }
        }
    }
    lists
}

fn services_key(vip: Vip) -> Key {
    let protocol = vip.protocol.number();
    Key::new(Kind::Ranges, vip.address.into(), 0, protocol)
}

const fn range(ports: Ports, value: u64) -> Range {
    Range {
        first: ports.first(),
        last: ports.last(),
        reserved: 0,
        value,
    }
}

impl Installed {
    /// The index of a NAT backend.
    pub(super) fn pair_of(&self, claim: &Claim) -> Option<u32> {
        self.services.get(&claim.vip)?.nat_pair(claim.backend)
    }
}
