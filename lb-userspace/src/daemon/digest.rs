//! A digest of a configuration's text, to tell whether two hosts run the same.

/// FNV-1a, 64 bits (draft-eastlake-fnv, §2): the same on every host and in every version. It guards
/// against mistakes, not against malice.
pub(super) fn digest(text: &[u8]) -> String {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    format!("{:016x}", text.iter().fold(OFFSET_BASIS, mix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_agree() {
        assert_eq!(digest(b""), "cbf29ce484222325");
        assert_eq!(digest(b"foobar"), "85944171f73967e8");
    }
}
