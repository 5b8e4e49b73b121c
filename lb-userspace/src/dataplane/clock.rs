//! The time as the data path is told it: seconds while a daemon told them. Without a daemon it stands still,
//! and goes on from there with the next one, so that nothing grows old that nobody looked after.

use lb_common::{maps::Control, path::Path};
use nix::time::{ClockId, clock_gettime};

use super::{Error, maps, pins::Pins};
use crate::desired::{Region, Store, StoreError};

const CLOCK: usize = core::mem::offset_of!(Control, clock);

/// What a router said of a path is believed for so many seconds (RFC 1191, §6.3).
const PATH_LASTS: u32 = 10 * 60;

/// Seconds since the system started, time asleep included.
fn uptime() -> u32 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| now.tv_sec());
    u32::try_from(now).unwrap_or(u32::MAX)
}

/// Tells the data path.
pub(super) fn tell<S: Store>(store: &mut S, seconds: u32) -> Result<(), StoreError> {
    store.store_u64(Region::Control, CLOCK, seconds.into())
}

/// What time the data path was told last.
pub(super) fn told(pins: &Pins) -> Result<u32, Error> {
    let told = maps::region(pins, Region::Control)?.load(CLOCK);
    Ok(told.and_then(|told| told.try_into().ok()).unwrap_or(0))
}

/// Whether what a router said of a path is believed no more.
pub(super) const fn is_old(path: Path, now: u32) -> bool {
    path.mtu() != 0 && now.saturating_sub(path.learned()) >= PATH_LASTS
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// The second.
    pub(super) now: u32,
    /// The second in which this daemon began to tell the time.
    pub(super) resumed: u32,
}

/// What tells the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataTime {
    resumed: u32,
    /// [`uptime`] then.
    began: u32,
    /// Not before this second.
    least: u32,
}

impl DataTime {
    /// Goes on where the daemon before ended. It is never 0: nobody told the time yet.
    pub(super) fn resume<S: Store>(store: &mut S) -> Result<Self, StoreError> {
        let began = uptime();
        let stopped = store.load(Region::Control, CLOCK).unwrap_or(0);
        let resumed = match u32::try_from(stopped).unwrap_or(u32::MAX) {
            0 => began.max(1),
            stopped => stopped,
        };
        let time = Self {
            resumed,
            began,
            least: resumed,
        };
        tell(store, time.clock().now)?;
        Ok(time)
    }

    /// What time it is.
    pub(super) fn clock(self) -> Clock {
        let passed = uptime().saturating_sub(self.began);
        Clock {
            now: self.resumed.saturating_add(passed).max(self.least),
            resumed: self.resumed,
        }
    }

    /// Begins the next second, so that what is seen from now on is told from what was seen before; the time
    /// waits for the clock then.
    pub(super) fn advance<S: Store>(&mut self, store: &mut S) -> Result<(), StoreError> {
        self.least = self.clock().now.saturating_add(1);
        tell(store, self.least)
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
