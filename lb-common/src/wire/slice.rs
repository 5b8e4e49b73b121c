//! The host's frame: a byte slice.

use super::{Cursor, Frame, Header};

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

    fn peek<T: Header>(&self) -> Option<T> {
        T::read_from_prefix(self.rest)
            .ok()
            .map(|(header, _)| header)
    }

    fn skip(&mut self, bytes: usize) {
        let rest = core::mem::take(&mut self.rest);
        self.rest = rest.get_mut(bytes..).unwrap_or_default();
    }

    fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    fn frame_len(&self) -> usize {
        self.len
    }

    fn rest(&self) -> usize {
        self.rest.len()
    }
}

/// A frame with room before it, as the kernel's have.
#[derive(Debug)]
pub struct SliceFrame<'b> {
    buffer: &'b mut [u8],
    start: usize,
    end: usize,
}

impl<'b> SliceFrame<'b> {
    /// The part of `buffer` from `start` on; `None` where it ends before.
    #[must_use]
    pub const fn new(buffer: &'b mut [u8], start: usize) -> Option<Self> {
        let end = buffer.len();
        if start > end {
            return None;
        }
        Some(Self { buffer, start, end })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }
}

impl Frame for SliceFrame<'_> {
    type Cursor<'p>
        = SliceCursor<'p>
    where
        Self: 'p;

    fn cursor(&mut self) -> SliceCursor<'_> {
        SliceCursor::new(
            self.buffer
                .get_mut(self.start..self.end)
                .unwrap_or_default(),
        )
    }

    fn push(&mut self, bytes: usize) -> bool {
        let start = self.start.checked_sub(bytes);
        self.start = start.unwrap_or(self.start);
        start.is_some()
    }

    fn pull(&mut self, bytes: usize) -> bool {
        let fits = bytes < self.end - self.start;
        if fits {
            self.start += bytes;
        }
        fits
    }

    fn truncate(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.end - self.start;
        if fits {
            self.end = self.start + bytes;
        }
        fits
    }
}
