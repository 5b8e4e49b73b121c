//! TCP options.

use lb_tests::random::Random;

/// Options one after another, sound ones and random ones, up to 40 bytes.
pub(super) fn random(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(9) {
        bytes.extend(option(random));
    }
    let len = bytes.len().next_multiple_of(4).min(40);
    bytes.resize(len, random.pick(&[0, 1]));
    bytes
}

fn option(random: &mut Random) -> Vec<u8> {
    let size = random.pick(&[0, 536, 1199, 1200, 1201, 1460, 8960, 65535u16]);
    let [high, low] = size.to_be_bytes();
    match random.below(12) {
        0..4 => vec![1],
        4..8 => vec![2, 4, high, low],
        8 => vec![3, 3, 7],
        9 => vec![4, 2],
        10 => vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
        _ => {
            let len = 1 + random.below(4);
            random.bytes(len)
        }
    }
}
