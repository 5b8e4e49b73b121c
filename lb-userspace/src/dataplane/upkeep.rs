//! What the data path needs from time to time: the time itself, an end to flows that are over, and paths
//! that are found out anew.

use std::{collections::HashMap, mem::offset_of, net::IpAddr};

use lb_common::{counters::Signals, path::Path, verdict::TrackEvent};

use super::{
    Dataplane, Error, Refused, clock, counters,
    flows::{Sweeper, Usage},
    maps,
};
use crate::{
    config::model::Vip,
    desired::{self, FlowOwners, InstalledService, Region, Rested, Store as _},
};

impl Dataplane {
    /// Leads remembered flows to the entries of their backends, before others may have those that they
    /// name.
    pub(super) fn lead_flows(&self) -> Result<(), Error> {
        if !self.maps.sizes().remember_flows() {
            return Ok(());
        }
        let owners = FlowOwners::of(&self.installed);
        maps::flows(&self.pins, self.maps.sizes())?.lead(&owners)
    }

    /// Tells the data path what time it is: to be called every second.
    ///
    /// # Errors
    /// Where the map is not as it was.
    pub fn tell_time(&mut self) -> Result<(), Error> {
        Ok(self.time.tell(&mut self.maps)?)
    }

    /// Forgets what routers said of paths 10 minutes ago (RFC 1191, §6.3): the next packet that is too
    /// long finds out.
    ///
    /// # Errors
    /// Where the map is not as it was.
    pub fn forget_old_paths(&mut self) -> Result<(), Error> {
        let now = self.time.clock().now;
        for index in self.installed.paths() {
            let offset = Region::Paths.offset(index.into());
            let path = self.maps.load(Region::Paths, offset).map(Path);
            if path.is_some_and(|path| clock::is_old(path, now)) {
                self.maps
                    .store_u64(Region::Paths, offset, Path::UNKNOWN.0)?;
            }
        }
        Ok(())
    }

    /// How often a tunnel's end said that it could not deliver a packet, modulo 2¹⁶; 0 where there is none.
    #[must_use]
    pub fn refusals(&self, end: IpAddr, is_gue: bool) -> u16 {
        let index = self.installed.path_to(end, is_gue);
        let path = index.and_then(|index| {
            let offset = Region::Paths.offset(index.into());
            self.maps.load(Region::Paths, offset)
        });
        path.map_or(0, |word| Path(word).refusals())
    }

    /// What packets show of the backend of a pair.
    #[must_use]
    pub fn signals(&self, pair: u32) -> Signals {
        let offset = Region::Signals.offset(pair);
        let field = |field: usize| self.maps.load(Region::Signals, offset + field).unwrap_or(0);
        Signals {
            tried: field(offset_of!(Signals, tried)),
            again: field(offset_of!(Signals, again)),
            opened: field(offset_of!(Signals, opened)),
            resets: field(offset_of!(Signals, resets)),
        }
    }

    /// Who looks after the remembered flows; `None` where none are.
    ///
    /// # Errors
    /// Where the map is missing.
    pub fn sweeper(&self) -> Result<Option<Sweeper>, Error> {
        let sizes = self.maps.sizes();
        if !sizes.remember_flows() {
            return Ok(None);
        }
        let flows = maps::flows(&self.pins, sizes)?;
        let (usage, sweeping) = (self.usage.clone(), self.sweeping.clone());
        Ok(Some(Sweeper::new(
            flows,
            self.time.reading(),
            usage,
            sweeping,
        )))
    }

    /// The number of the map that sweepers look after: where it is another one than before, those from
    /// before have ended.
    #[must_use]
    pub const fn flow_map(&self) -> u64 {
        self.sweeping.number()
    }

    /// Lets rows come to rest whose flows are where the rows say, and looks through the tracked ones; whether
    /// backends that are on their way out may be done. To be called every second.
    ///
    /// # Errors
    /// Where a map is not as it was.
    pub fn let_rest(&mut self) -> Result<bool, Error> {
        let now = self.time.clock().now;
        let lingers = self.installed.lingers();
        let is_moving = self.installed.is_moving();
        if is_moving || lingers || !self.tracks.is_empty() {
            let idle = self.installed.longest_idle();
            self.tracks.refresh(&mut self.maps, now, idle);
        }
        self.note_refusals(now)?;
        if let Some(peering) = &mut self.peering {
            peering.note(is_moving);
        }
        if !is_moving {
            if self.tracks.is_empty() {
                self.maps.rows_are_at_rest();
            }
            return Ok(lingers);
        }
        let Rested {
            changes,
            after,
            rehashed,
        } = {
            let times = |element: u32, slot: u32| self.maps.times(element, slot);
            desired::rest(&self.installed, times, now, self.refused.at)
        };
        for change in &changes {
            change.apply(&mut self.maps)?;
        }
        self.installed = after;
        for (vip, flows) in rehashed {
            *self.rehashed.entry(vip).or_default() += flows;
        }
        Ok(lingers || !changes.is_empty())
    }

    /// Flows that found no place among the tracked ones keep rows from learning.
    fn note_refusals(&mut self, now: u32) -> Result<(), Error> {
        let count = counters::event(&self.maps, TrackEvent::Refused)?;
        if count != self.refused.count {
            self.refused = Refused { count, at: now };
        }
        Ok(())
    }

    /// About how many flows backends have in slots that others own now, by the index of their counters:
    /// of those that were seen in the last quarter of a minute.
    #[must_use]
    pub fn flows_left(&self, service: &InstalledService) -> HashMap<u32, u64> {
        const OF_LATE: u16 = 15;
        let now = self.time.clock().now;
        let is_busy = |element, slot| self.maps.times(element, slot).quiet(now) < OF_LATE;
        service.flows_left(is_busy)
    }

    /// About how many flows of a service were with backends that died and went to others, since the daemon
    /// started: an estimate ([`Rested::rehashed`]).
    #[must_use]
    pub fn rehashed_flows(&self, vip: Vip) -> u64 {
        self.rehashed.get(&vip).copied().unwrap_or(0)
    }

    /// Live entries among the tracked flows, as of the last look.
    #[must_use]
    pub const fn tracked_flows(&self) -> u64 {
        self.tracks.live()
    }

    /// What the sweeper counted last.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }
}
