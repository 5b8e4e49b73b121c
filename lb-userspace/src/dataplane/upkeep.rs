//! What the data path needs from time to time: the time itself, an end to flows that are over, and paths
//! that are found out anew.

use lb_common::path::Path;

use super::{
    Dataplane, Error, clock,
    flows::{Sweeper, Usage},
    maps,
};
use crate::desired::{FlowOwners, Region, Store as _};

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
        Ok(clock::tell(&mut self.maps, clock::seconds())?)
    }

    /// Forgets what routers said of paths 10 minutes ago (RFC 1191, §6.3): the next packet that is too
    /// long finds out.
    ///
    /// # Errors
    /// Where the map is not as it was.
    pub fn forget_old_paths(&mut self) -> Result<(), Error> {
        let now = clock::seconds();
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
        Ok(Some(Sweeper::new(flows, self.clock, self.usage.clone())))
    }

    /// What the sweeper counted last.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }
}
