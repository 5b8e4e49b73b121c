//! Layout 4: rows were never moving, so that nothing was known of their times, and no flow was tracked.
//!
//! | map | then | now |
//! |---|---|---|
//! | `SLOTS` | a row without owner was a stable row of nobody | [`Row::EMPTY`], which no stable row is |
//! | `TIMES`, `TRACKED` | | new: nothing moves |
//! | `BACKENDS` | a state, below 8, in the word of the standing | the same: no flow was forgotten; `idle` and `deadline` of a header are the zeros that were there, until the daemon writes what is configured |
//! | `META` | nothing in the place of `bucket_mask` | `Older::meta` |

use lb_common::{maps::SLOTS, row::Row};

use super::Rules;
use crate::desired::Region;

pub(super) const RULES: Rules = Rules {
    version: 4,
    changes: &[SLOTS],
    convert,
};

/// A row of nobody: both owners [`Row::NONE`], and no mark.
const NOBODY: u32 = 0x3fff_ffff;

fn convert(region: Region, word: u64) -> u64 {
    if region != Region::Slots {
        return word;
    }
    let rows: [u32; 2] = zerocopy::transmute!(word);
    let today = |row| if row == NOBODY { Row::EMPTY.0 } else { row };
    zerocopy::transmute!(rows.map(today))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(region: Region, rows: [u32; 2]) -> [u32; 2] {
        zerocopy::transmute!(convert(region, zerocopy::transmute!(rows)))
    }

    #[test]
    fn a_row_of_nobody_is_empty_today_and_others_are_as_they_were() {
        let own = Row::stable(3).0;
        assert_eq!(converted(Region::Slots, [NOBODY, own]), [Row::EMPTY.0, own]);
        assert_eq!(converted(Region::Slots, [own, 0]), [own, 0]);
        assert_eq!(converted(Region::Backends, [NOBODY; 2]), [NOBODY; 2]);
        assert_eq!(Row(NOBODY).primary(), u32::from(Row::NONE));
    }
}
