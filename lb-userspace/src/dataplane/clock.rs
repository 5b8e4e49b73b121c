//! The time as the data path is told it: seconds while a daemon told them. Without a daemon, or while it has no CPU or
//! waits for the kernel, it stands still, and goes on from there, so that nothing grows old that nobody looked after.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use lb_common::{maps::Control, path::Path};
use nix::time::{ClockId, clock_gettime};

use super::{Error, maps, pins::Pins};
use crate::desired::{Region, Store, StoreError};

const CLOCK: usize = core::mem::offset_of!(Control, clock);

/// What a router said of a path is believed for so many seconds (RFC 1191, §6.3).
const PATH_LASTS: u32 = 10 * 60;

/// The time is told every second. Of a longer time without that, in which packets were marked with the second before,
/// no more than this passes: flows would be taken for silent.
const LONGEST: u32 = 2;

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

/// The time to be read, as the data path was told it last.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    resumed: u32,
    now: Arc<AtomicU32>,
}

impl Reading {
    /// What time it is.
    pub(super) fn clock(&self) -> Clock {
        Clock {
            now: self.now.load(Ordering::Relaxed),
            resumed: self.resumed,
        }
    }
}

/// What tells the time.
#[derive(Debug)]
pub(super) struct DataTime {
    reading: Reading,
    /// [`uptime`] when it was told last.
    at: u32,
    /// Seconds that it is ahead of the clock.
    ahead: u32,
}

impl DataTime {
    /// Goes on where the daemon before ended. It is never 0: nobody told the time yet.
    pub(super) fn resume<S: Store>(store: &mut S) -> Result<Self, StoreError> {
        let at = uptime();
        let stopped = store.load(Region::Control, CLOCK).unwrap_or(0);
        let resumed = match u32::try_from(stopped).unwrap_or(u32::MAX) {
            0 => at.max(1),
            stopped => stopped,
        };
        tell(store, resumed)?;
        Ok(Self::new(resumed, at))
    }

    fn new(resumed: u32, at: u32) -> Self {
        Self {
            reading: Reading {
                resumed,
                now: Arc::new(AtomicU32::new(resumed)),
            },
            at,
            ahead: 0,
        }
    }

    /// To be read elsewhere.
    pub(super) fn reading(&self) -> Reading {
        self.reading.clone()
    }

    /// What time it is.
    pub(super) fn clock(&self) -> Clock {
        self.reading.clock()
    }

    /// Tells the data path what has passed since it was told last.
    pub(super) fn tell<S: Store>(&mut self, store: &mut S) -> Result<(), StoreError> {
        self.pass(uptime());
        tell(store, self.clock().now)
    }

    fn pass(&mut self, uptime: u32) {
        let passed = uptime.saturating_sub(self.at).min(LONGEST);
        let waited = passed.min(self.ahead);
        self.at = uptime;
        self.ahead -= waited;
        self.reading
            .now
            .fetch_add(passed - waited, Ordering::Relaxed);
    }

    /// Begins the next second, so that what is seen from now on is told from what was seen before; the time
    /// waits for the clock then.
    pub(super) fn advance<S: Store>(&mut self, store: &mut S) -> Result<(), StoreError> {
        self.skip();
        tell(store, self.clock().now)
    }

    fn skip(&mut self) {
        self.ahead += 1;
        self.reading.now.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_while_it_is_told() {
        let mut time = DataTime::new(5000, 100);
        let mut after = |uptime| {
            time.pass(uptime);
            time.clock().now
        };
        assert_eq!(
            [100, 101, 102, 104].map(&mut after),
            [5000, 5001, 5002, 5004]
        );
        // Half a minute in which nobody told it.
        assert_eq!([134, 134, 135].map(after), [5006, 5006, 5007]);
        assert_eq!(time.clock().resumed, 5000);
    }

    #[test]
    fn time_that_is_ahead_waits() {
        let mut time = DataTime::new(5000, 100);
        time.skip();
        time.skip();
        let after = [101, 102, 103].map(|uptime| {
            time.pass(uptime);
            time.clock().now
        });
        assert_eq!(after, [5002, 5002, 5003]);
    }

    #[test]
    fn a_path_is_believed_for_ten_minutes() {
        assert!(!is_old(Path::UNKNOWN, 5000));
        assert!(!is_old(Path::new(1400, 4401), 5000));
        assert!(is_old(Path::new(1400, 4400), 5000));
    }
}
