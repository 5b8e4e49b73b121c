//! The time as the data path is told it: seconds since the system started, time asleep included.

use lb_common::{maps::Control, path::Path};
use nix::time::{ClockId, clock_gettime};

use super::flows::Clock;
use crate::desired::{Region, Store, StoreError};

const CLOCK: usize = core::mem::offset_of!(Control, clock);

/// What a router said of a path is believed for so many seconds (RFC 1191, §6.3).
const PATH_LASTS: u32 = 10 * 60;

/// Never 0, which means that nobody told the time yet.
pub(super) fn seconds() -> u32 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| now.tv_sec());
    u32::try_from(now).unwrap_or(u32::MAX).max(1)
}

/// Tells the data path.
pub(super) fn tell<S: Store>(store: &mut S, seconds: u32) -> Result<(), StoreError> {
    store.store_u64(Region::Control, CLOCK, seconds.into())
}

/// Whether what a router said of a path is believed no more.
pub(super) const fn is_old(path: Path, now: u32) -> bool {
    path.mtu() != 0 && now.saturating_sub(path.learned()) >= PATH_LASTS
}

impl Clock {
    /// Goes on where the daemon before ended.
    pub(super) fn resume<S: Store>(store: &mut S) -> Result<Self, StoreError> {
        let stopped = store.load(Region::Control, CLOCK).unwrap_or(0);
        let now = seconds();
        tell(store, now)?;
        Ok(Self {
            now,
            stopped: u32::try_from(stopped).unwrap_or(u32::MAX),
            resumed: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_believed_for_ten_minutes() {
        assert!(!is_old(Path::UNKNOWN, 5000));
        assert!(!is_old(Path::new(1400, 4401), 5000));
        assert!(is_old(Path::new(1400, 4400), 5000));
    }
}
