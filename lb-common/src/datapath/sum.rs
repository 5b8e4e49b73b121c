//! The sum of bytes that have to be read: where no checksum tells it. Off the common path.

use crate::{
    bits,
    checksum::fold,
    wire::{Cursor, Frame},
};

/// The sum ([`checksum::sum`](crate::checksum::sum)) of `len` bytes of a frame, at least four, that begin
/// behind `before`: those that there are, in `most` words of four bytes at most.
#[inline(always)]
pub(super) fn of_bytes<F: Frame>(frame: &mut F, before: usize, len: usize, most: usize) -> u16 {
    let sum = words(frame.cursor(), before, len, most) + rest(frame.cursor(), before, len);
    let halves = (sum & 0xffff_ffff) + (sum >> 32);
    fold(bits::low_half((halves & 0xffff) + (halves >> 16)))
}

#[inline(always)]
fn words<'p, C: Cursor<'p>>(mut cursor: C, before: usize, len: usize, most: usize) -> u64 {
    cursor.skip(before);
    let mut sum = 0;
    for word in 0..most {
        if 4 * word + 4 > len {
            break;
        }
        let Some(bytes) = cursor.take::<[u8; 4]>() else {
            break;
        };
        sum += u64::from(u32::from_ne_bytes(*bytes));
    }
    C::settled(sum)
}

/// The bytes behind the last whole word, taken out of the last four.
#[inline(always)]
fn rest<'p, C: Cursor<'p>>(mut cursor: C, before: usize, len: usize) -> u64 {
    let bits = bits::length(8 * (len & 3));
    if bits == 0 || len < 4 {
        return 0;
    }
    cursor.skip(before + len - 4);
    cursor.settle();
    let Some(last) = cursor.take::<[u8; 4]>() else {
        return 0;
    };
    u64::from((u32::from_le_bytes(*last) >> (32 - u32::from(bits))).to_le())
}
