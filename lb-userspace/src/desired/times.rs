//! When rows changed, and when packets of them last went elsewhere.

use lb_common::row::{ROWS_PER_ELEMENT, Times};

use super::store::{Region, Store};

/// What is known of a moving row of the table that begins at `element`.
pub fn times<S: Store>(store: &S, element: u32, slot: u32) -> Times {
    const ROW_BYTES: usize = size_of::<Times>();
    let element = element + slot / ROWS_PER_ELEMENT;
    let row = (slot % ROWS_PER_ELEMENT) as usize;
    let offset = Region::Times.offset(element) + row / 2 * 2 * ROW_BYTES;
    let word = store.load(Region::Times, offset).unwrap_or(0);
    let pair: [Times; 2] = zerocopy::transmute!(word);
    pair.get(row % 2).copied().unwrap_or_default()
}
