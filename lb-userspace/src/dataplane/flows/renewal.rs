//! Remembered flows while another map takes the place of theirs: both know them, and nobody takes any out.

use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::MapError;
use lb_common::{flow::Flow, maps::FLOWS};

use super::{Flows, is_missing};
use crate::dataplane::{error::Error, memory::MapValue};

/// Walks through a map after which one that was copied meanwhile is given up.
const WALKS: usize = 16;

/// Who takes out flows that are over: the sweepers of one map, which end together.
#[derive(Clone, Debug, Default)]
pub(in crate::dataplane) struct Sweeping {
    number: u64,
    has_ended: Arc<Mutex<bool>>,
}

impl Sweeping {
    /// The sweepers of the next map.
    pub(in crate::dataplane) fn next(&self) -> Self {
        Self {
            number: self.number + 1,
            has_ended: Arc::default(),
        }
    }

    /// Tells the sweepers of one map from those of another.
    pub(in crate::dataplane) const fn number(&self) -> u64 {
        self.number
    }

    /// Whether they have ended.
    pub(in crate::dataplane) fn has_ended(&self) -> bool {
        *self.lock()
    }

    /// Ends them: none takes out another flow.
    pub(in crate::dataplane) fn end(&self) {
        *self.lock() = true;
    }

    /// Takes something out, unless they have ended.
    pub(super) fn unless_ended(
        &self,
        take_out: impl FnOnce() -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        let has_ended = self.lock();
        if *has_ended { Ok(()) } else { take_out() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.has_ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flows {
    /// Copies the flows of the map that this one is to replace. The data path claims in both meanwhile, so
    /// that what a walk misses is new and here already; a walk that finds nothing to copy is the last.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(in crate::dataplane) fn copy(&mut self, former: &Self) -> Result<(), Error> {
        for _ in 0..WALKS {
            if self.try_copy(former).map_err(Error::map(FLOWS))? == 0 {
                return Ok(());
            }
        }
        Err(Error::Restless)
    }

    /// How many were not here yet.
    fn try_copy(&mut self, former: &Self) -> Result<usize, MapError> {
        const BPF_NOEXIST: u64 = 1;
        let mut copied = 0;
        for found in former.entries() {
            let (key, flow) = found?;
            match self.map.insert(MapValue(key), MapValue(flow), BPF_NOEXIST) {
                Ok(()) => copied += 1,
                Err(error) if is_there(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(copied)
    }

    /// Takes over when the last packet of a flow passed, and what it said, where the former map knows of a
    /// later one. Nobody claims in that map any more.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(in crate::dataplane) fn refresh(&mut self, former: &Self) -> Result<(), Error> {
        self.try_refresh(former).map_err(Error::map(FLOWS))
    }

    fn try_refresh(&mut self, former: &Self) -> Result<(), MapError> {
        const BPF_EXIST: u64 = 2;
        for found in former.entries() {
            let (key, flow) = found?;
            let Some(refreshed) = self.entry(&key)?.and_then(|own| refreshed(&own, &flow)) else {
                continue;
            };
            match self
                .map
                .insert(MapValue(key), MapValue(refreshed), BPF_EXIST)
            {
                Err(error) if !is_missing(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// An entry with what another map knows of the same flow; `None` where that is nothing new.
fn refreshed(own: &Flow, former: &Flow) -> Option<Flow> {
    let (seen, marks) = (own.seen.max(former.seen), own.marks | former.marks);
    let same = Flow {
        seen: own.seen,
        marks: own.marks,
        ..*former
    };
    let is_new = (seen, marks) != (own.seen, own.marks);
    (same == *own && is_new).then_some(Flow {
        seen,
        marks,
        ..same
    })
}

fn is_there(error: &MapError) -> bool {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(libc::EEXIST),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_later_of_the_same_flow_is_taken_over() {
        let own = Flow {
            pair: 3,
            seen: 10,
            ..Flow::default()
        };
        let at = |seen, marks| Flow { seen, marks, ..own };
        assert_eq!(refreshed(&own, &own), None);
        assert_eq!(refreshed(&own, &at(9, 0)), None);
        assert_eq!(refreshed(&own, &at(12, 0)), Some(at(12, 0)));
        let closing = at(9, Flow::CLOSING);
        assert_eq!(refreshed(&own, &closing), Some(at(10, Flow::CLOSING)));
        let another = Flow {
            pair: 4,
            ..at(12, 0)
        };
        assert_eq!(refreshed(&own, &another), None);
    }

    #[test]
    fn sweepers_that_have_ended_take_nothing_out() {
        let sweeping = Sweeping::default();
        let mut taken = 0;
        sweeping
            .unless_ended(|| {
                taken += 1;
                Ok(())
            })
            .unwrap();
        sweeping.end();
        sweeping.unless_ended(|| panic!("it has ended")).unwrap();
        assert_eq!((taken, sweeping.next().has_ended()), (1, false));
    }
}
