//! The host's frame: a byte slice.

use super::{Cursor, Header};

/// A cursor over a slice, safe code all through.
#[derive(Debug)]
pub struct SliceCursor<'p> {
    rest: &'p mut [u8],
    len: usize,
}

impl<'p> SliceCursor<'p> {
    /// Stands at the front of `frame`.
    #[must_use]
    pub const fn new(frame: &'p mut [u8]) -> Self {
        let len = frame.len();
        Self { rest: frame, len }
    }
}

impl<'p> Cursor<'p> for SliceCursor<'p> {
    fn take<T: Header>(&mut self) -> Option<&'p mut T> {
        let (header, rest) = T::mut_from_prefix(core::mem::take(&mut self.rest)).ok()?;
        self.rest = rest;
        Some(header)
    }

    fn skip(&mut self, bytes: usize) {
        let rest = core::mem::take(&mut self.rest);
        self.rest = rest.get_mut(bytes..).unwrap_or_default();
    }

    fn frame_len(&self) -> usize {
        self.len
    }
}
