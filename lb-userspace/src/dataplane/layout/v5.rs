//! Layout 5: nothing told whose a tracked flow is.
//!
//! | map | then | now |
//! |---|---|---|
//! | `ORIGINS` | | new: flows that were tracked before are told to no other balancer |
//! | `BACKENDS` | zeros in the place of a header's `flags` and `affinity` | the same, until the daemon writes what is configured |

use super::{Rules, same};

pub(super) const RULES: Rules = Rules {
    version: 5,
    changes: &[],
    convert: same,
};
