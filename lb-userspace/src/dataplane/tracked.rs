//! Tracked flows, as the daemon looks after them: what is over is cleared, and who has flows is counted.

use lb_common::{
    row::{ROWS_PER_ELEMENT, Times},
    tracked::{ENTRIES, Tracked},
};

use super::maps::Maps;
use crate::desired::{Region, Store as _, Tracks};

/// Seconds from one look to the next. Ages of half-open entries are told modulo 256 s: they must be looked
/// at a few times before that.
const BETWEEN_LOOKS: u32 = 2;

/// The last look at all tracked flows.
#[derive(Debug, Default)]
pub(super) struct Looked {
    tracks: Tracks,
    live: u64,
}

impl Looked {
    /// Looks through the table, if it is time. `idle`: seconds that any flow may be silent.
    pub(super) fn refresh(&mut self, maps: &Maps, now: u32, idle: u32) {
        if now < self.tracks.began + BETWEEN_LOOKS || !maps.sizes().track_flows() {
            return;
        }
        self.tracks.began = now;
        self.tracks.owners.clear();
        self.live = 0;
        let words = maps.sizes().buckets as usize * ENTRIES;
        for offset in (0..words).map(|word| word * size_of::<u64>()) {
            let word = maps.load(Region::Tracked, offset).unwrap_or(0);
            if word != 0 {
                self.judge(maps, offset, Tracked(word), now, idle);
            }
        }
    }

    fn judge(&mut self, maps: &Maps, offset: usize, entry: Tracked, now: u32, idle: u32) {
        if entry.is_live(now, idle) {
            self.live += 1;
            self.tracks
                .owners
                .insert(u16::try_from(entry.owner()).unwrap_or(u16::MAX));
        } else {
            // The data path may have been faster, with another flow.
            let _cleared = maps.replace(Region::Tracked, offset, entry.0, Tracked::FREE.0);
        }
    }

    /// Whether the table is known to be empty.
    pub(super) const fn is_empty(&self) -> bool {
        self.live == 0 && self.tracks.began != 0
    }

    /// Who has flows.
    pub(super) const fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// How many there are.
    pub(super) const fn live(&self) -> u64 {
        self.live
    }
}

impl Maps {
    /// What is known of a moving row.
    pub(super) fn times(&self, element: u32, slot: u32) -> Times {
        const ROW_BYTES: usize = size_of::<Times>();
        let element = element + slot / ROWS_PER_ELEMENT;
        let row = (slot % ROWS_PER_ELEMENT) as usize;
        let offset = Region::Times.offset(element) + row / 2 * 2 * ROW_BYTES;
        let word = self.load(Region::Times, offset).unwrap_or(0);
        let pair: [Times; 2] = zerocopy::transmute!(word);
        pair.get(row % 2).copied().unwrap_or_default()
    }
}
