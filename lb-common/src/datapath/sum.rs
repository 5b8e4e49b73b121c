//! The sum of bytes that have to be read: where no checksum tells it. Off the common path.

use crate::{bits, checksum::fold, wire::Cursor};

/// The sum ([`checksum::sum`](crate::checksum::sum)) of `len` bytes from the cursor on, of which the frame
/// may have fewer, in `most` words of four bytes at most.
#[inline(always)]
pub(super) fn of_bytes<'p, C: Cursor<'p>>(mut cursor: C, len: usize, most: usize) -> u16 {
    let mut sum = 0u64;
    for word in 0..most {
        if 4 * word + 4 > len {
            break;
        }
        let Some(bytes) = cursor.take::<[u8; 4]>() else {
            break;
        };
        sum += u64::from(u32::from_ne_bytes(*bytes));
    }
    cursor.settle();
    sum = C::settled(sum);
    if len & 2 != 0
        && let Some(bytes) = cursor.take::<[u8; 2]>()
    {
        sum += u64::from(u16::from_ne_bytes(*bytes));
    }
    if len & 1 != 0
        && let Some([byte]) = cursor.take::<[u8; 1]>()
    {
        sum += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    let halves = (sum & 0xffff_ffff) + (sum >> 32);
    fold(bits::low_half((halves & 0xffff) + (halves >> 16)))
}
