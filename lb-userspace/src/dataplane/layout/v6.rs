//! Layout 6: nothing was known of what packets show of backends.
//!
//! | map | then | now |
//! |---|---|---|
//! | `ATTEMPTS`, `SIGNALS` | | new: they begin empty |

use super::{Rules, same};

pub(super) const RULES: Rules = Rules {
    version: 6,
    changes: &[],
    convert: same,
};
