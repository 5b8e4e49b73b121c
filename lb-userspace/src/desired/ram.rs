//! Tables in the host's memory, which remember every store: what the laws of [`diff`](super::diff)
//! are tested on.

use std::collections::BTreeMap;

use super::store::{Region, Store, StoreError};
use crate::dataplane::sizes::Sizes;

/// One store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A grace period ended.
    Grace,
    /// 4 bytes.
    U32(Region, usize, u32),
    /// 8 bytes.
    U64(Region, usize, u64),
}

/// Tables, and the stores since [`Ram::forget`].
#[derive(Clone, Debug)]
pub(crate) struct Ram {
    bytes: BTreeMap<Region, Vec<u8>>,
    pub(crate) traffic: Vec<u64>,
    pub(crate) journal: Vec<Event>,
}

impl Ram {
    pub(crate) fn new(sizes: &Sizes) -> Self {
        let bytes =
            Region::ALL.map(|region| (region, vec![0; region.offset(sizes.entries(region))]));
        Self {
            bytes: bytes.into(),
            traffic: vec![0; sizes.backends as usize],
            journal: Vec::new(),
        }
    }

    /// Empties the journal.
    pub(crate) fn forget(&mut self) {
        self.journal.clear();
    }

    /// Repeats a store of another memory's journal.
    pub(crate) fn replay(&mut self, event: Event) {
        match event {
            Event::Grace => {}
            Event::U32(region, offset, word) => self.store_u32(region, offset, word).unwrap(),
            Event::U64(region, offset, word) => self.store_u64(region, offset, word).unwrap(),
        }
    }

    fn put(&mut self, region: Region, offset: usize, word: &[u8]) -> Result<(), StoreError> {
        let outside = StoreError::Outside {
            map: region.name(),
            offset,
        };
        if !offset.is_multiple_of(word.len()) {
            return Err(outside);
        }
        let bytes = self.bytes.get_mut(&region).unwrap();
        let place = bytes.get_mut(offset..offset + word.len()).ok_or(outside)?;
        place.copy_from_slice(word);
        Ok(())
    }
}

impl Store for Ram {
    fn load(&self, region: Region, offset: usize) -> Option<u64> {
        let bytes = self.bytes.get(&region)?.get(offset..offset + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().unwrap()))
    }

    fn store_u64(&mut self, region: Region, offset: usize, word: u64) -> Result<(), StoreError> {
        self.journal.push(Event::U64(region, offset, word));
        self.put(region, offset, &word.to_ne_bytes())
    }

    fn store_u32(&mut self, region: Region, offset: usize, word: u32) -> Result<(), StoreError> {
        self.journal.push(Event::U32(region, offset, word));
        self.put(region, offset, &word.to_ne_bytes())
    }

    fn replace(&mut self, region: Region, offset: usize, before: u64, after: u64) -> bool {
        self.load(region, offset) == Some(before) && self.store_u64(region, offset, after).is_ok()
    }

    fn grace_period(&mut self) -> Result<(), StoreError> {
        self.journal.push(Event::Grace);
        Ok(())
    }

    fn reset_traffic(&mut self, pair: u32, inherit: Option<u32>) -> Result<(), StoreError> {
        let from = inherit.map_or(0, |from| self.traffic[from as usize]);
        self.traffic[pair as usize] = from;
        Ok(())
    }
}
