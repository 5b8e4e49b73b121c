//! The kernel's frame.

use aya_ebpf::programs::XdpContext;
use lb_common::wire::{Cursor, Header};

/// Advances a scalar, never a packet pointer: the verifier then sees one sum checked and used
/// (otherwise it refuses variable header lengths on every kernel).
pub struct XdpCursor {
    data: usize,
    end: usize,
    offset: usize,
}

impl XdpCursor {
    /// Stands at the front of the frame.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self {
            data: ctx.data(),
            end: ctx.data_end(),
            offset: 0,
        }
    }
}

impl<'p> Cursor<'p> for XdpCursor {
    #[inline(always)]
    fn take<T: Header>(&mut self) -> Option<&'p mut T> {
        let start = self.data + self.offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        self.offset += size_of::<T>();
        // SAFETY: the bytes lie in the frame by the check above; `Header` allows any address and
        // any bits; the offset moves on, so that no two headers overlap.
        Some(unsafe { &mut *(start as *mut T) })
    }

    #[inline(always)]
    fn skip(&mut self, bytes: usize) {
        self.offset += bytes;
    }

    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.end - self.data
    }
}
