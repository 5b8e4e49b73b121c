//! What a hostile sender, or a broken one, makes of a frame.

use lb_tests::random::Random;

/// Damages a frame in one to three places.
pub(super) fn some(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        once(random, bytes);
    }
}

fn once(random: &mut Random, bytes: &mut Vec<u8>) {
    match random.below(7) {
        0 => bytes.truncate(14 + random.below(bytes.len() - 13)),
        1 => {
            let tail = random.below(60);
            bytes.extend(random.bytes(tail));
        }
        2 => write(
            bytes,
            14 + random.below(8),
            &random.bits().to_le_bytes()[..2],
        ),
        3 => {
            let at = 14 + random.below(bytes.len().max(15) - 14);
            write(bytes, at, &random.bits().to_le_bytes()[..1]);
        }
        4 => {
            let at = 14 + random.below(bytes.len().max(15) - 14);
            write(bytes, at, &[random.below(12) as u8]);
        }
        5 => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        _ => checksum(random, bytes),
    }
}

/// A transport checksum of all zeros or all ones.
fn checksum(random: &mut Random, bytes: &mut [u8]) {
    let ip = if bytes[12] == 0x86 { 54 } else { 34 };
    let value = random.pick(&[[0, 0], [0xff, 0xff]]);
    write(bytes, ip + random.pick(&[2, 6, 16]), &value);
}

/// Writes what fits.
pub(super) fn write(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
