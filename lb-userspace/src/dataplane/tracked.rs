//! Tracked flows, as the daemon looks after them: what is over is cleared, and who has flows is counted.

use lb_common::{
    row::Times,
    tracked::{ENTRIES, Tracked},
};

use super::maps::Maps;
use crate::desired::{self, Region, Store as _, Tracks};

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
    pub(super) fn refresh(&mut self, maps: &mut Maps, now: u32, idle: u32) {
        if now < self.tracks.began + BETWEEN_LOOKS || !maps.sizes().track_flows() {
            return;
        }
        self.tracks.began = now;
        self.tracks.owners.clear();
        self.live = 0;
        let words = maps.sizes().buckets as usize * ENTRIES;
        let mut over = Vec::new();
        maps.each_word(Region::Tracked, words, &mut |index, word| {
            let entry = Tracked(word);
            if entry.is_live(now, idle) {
                self.live += 1;
                let owner = u16::try_from(entry.owner()).unwrap_or(u16::MAX);
                self.tracks.owners.insert(owner);
            } else {
                over.push((index * size_of::<u64>(), word));
            }
        });
        for (offset, word) in over {
            // The data path may have been faster, with another flow.
            let _cleared = maps.replace(Region::Tracked, offset, word, Tracked::FREE.0);
        }
    }

    /// Takes note that there are more, which another balancer knows.
    pub(super) const fn expect(&mut self, flows: u64) {
        self.live += flows;
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
        desired::times(self, element, slot)
    }
}
