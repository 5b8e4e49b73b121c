//! Parts of words, cut off on purpose.
#![expect(
    clippy::cast_possible_truncation,
    reason = "the bits above are what is to be cut off"
)]

/// The low half of a word.
#[inline(always)]
pub(crate) const fn low_half(word: u64) -> u32 {
    word as u32
}

/// The lowest byte of half a word.
#[inline(always)]
pub(crate) const fn low_byte(half: u32) -> u8 {
    half as u8
}

/// The low half of half a word.
#[inline(always)]
pub(crate) const fn low_word(half: u32) -> u16 {
    half as u16
}

/// A length that is known to fit 16 bits, or its low bits.
#[inline(always)]
pub(crate) const fn length(bytes: usize) -> u16 {
    bytes as u16
}
