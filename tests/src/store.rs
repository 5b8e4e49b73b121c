//! Maps in the host's memory, as the daemon's planner writes them.

use lb_userspace::desired::{Region, Store, StoreError};
use zerocopy::IntoBytes as _;

use crate::image::Image;

impl Image {
    fn bytes(&self, region: Region) -> &[u8] {
        match region {
            Region::Control => self.control.as_bytes(),
            Region::Directory => self.directory.as_bytes(),
            Region::Slots => self.slots.as_bytes(),
            Region::Times => self.times.as_bytes(),
            Region::Tracked => self.tracked.as_bytes(),
            Region::Origins => self.origins.as_bytes(),
            Region::Backends => self.backends.as_bytes(),
            Region::Routes => self.routes.as_bytes(),
            Region::Interfaces => self.interfaces.as_bytes(),
            Region::Ranges => self.ranges.as_bytes(),
            Region::Pools => self.pools.as_bytes(),
            Region::Paths => self.paths.as_bytes(),
            // What packets show is a host's, not a configuration's.
            Region::Signals => &[],
        }
    }

    fn bytes_mut(&mut self, region: Region) -> &mut [u8] {
        match region {
            Region::Control => self.control.as_mut_bytes(),
            Region::Directory => self.directory.as_mut_bytes(),
            Region::Slots => self.slots.as_mut_bytes(),
            Region::Times => self.times.as_mut_bytes(),
            Region::Tracked => self.tracked.as_mut_bytes(),
            Region::Origins => self.origins.as_mut_bytes(),
            Region::Backends => self.backends.as_mut_bytes(),
            Region::Routes => self.routes.as_mut_bytes(),
            Region::Interfaces => self.interfaces.as_mut_bytes(),
            Region::Ranges => self.ranges.as_mut_bytes(),
            Region::Pools => self.pools.as_mut_bytes(),
            Region::Paths => self.paths.as_mut_bytes(),
            Region::Signals => &mut [],
        }
    }

    fn put(&mut self, region: Region, offset: usize, word: &[u8]) -> Result<(), StoreError> {
        let place = self.bytes_mut(region).get_mut(offset..offset + word.len());
        let outside = StoreError::Outside {
            map: region.name(),
            offset,
        };
        place.ok_or(outside)?.copy_from_slice(word);
        Ok(())
    }
}

impl Store for Image {
    fn load(&self, region: Region, offset: usize) -> Option<u64> {
        let word = self.bytes(region).get(offset..offset + 8)?;
        Some(u64::from_ne_bytes(word.try_into().ok()?))
    }

    fn store_u64(&mut self, region: Region, offset: usize, word: u64) -> Result<(), StoreError> {
        self.put(region, offset, &word.to_ne_bytes())
    }

    fn store_u32(&mut self, region: Region, offset: usize, word: u32) -> Result<(), StoreError> {
        self.put(region, offset, &word.to_ne_bytes())
    }

    fn replace(&mut self, region: Region, offset: usize, before: u64, after: u64) -> bool {
        self.load(region, offset) == Some(before) && self.store_u64(region, offset, after).is_ok()
    }

    fn grace_period(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Nobody counts.
    fn reset_traffic(&mut self, _: u32, _: Option<u32>) -> Result<(), StoreError> {
        Ok(())
    }
}
