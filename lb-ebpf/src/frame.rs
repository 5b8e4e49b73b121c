//! The kernel's frame.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::wire::{Cursor, Frame, Header, MAX_POSITION};

use crate::maps;

/// The frame of a context. Where it is `PLAIN`, all that is read of it stands at places that the compiler knows: no
/// header has a length of its own.
pub struct XdpFrame<'a, const PLAIN: bool>(&'a XdpContext);

impl<'a, const PLAIN: bool> XdpFrame<'a, PLAIN> {
    /// The frame of `ctx`.
    #[inline(always)]
    pub const fn new(ctx: &'a XdpContext) -> Self {
        Self(ctx)
    }

    /// Moves its front; `bytes` towards the end.
    #[inline(always)]
    fn move_front(&mut self, bytes: i32) -> bool {
        // SAFETY: the context is the program's; no header is held, as cursors borrow the frame.
        unsafe { bpf_xdp_adjust_head(self.md(), bytes) == 0 }
    }

    #[inline(always)]
    const fn md(&self) -> *mut xdp_md {
        self.0.ctx
    }
}

impl<const PLAIN: bool> Frame for XdpFrame<'_, PLAIN> {
    type Cursor<'p>
        = XdpCursor<PLAIN>
    where
        Self: 'p;

    #[inline(always)]
    fn cursor(&mut self) -> XdpCursor<PLAIN> {
        XdpCursor::new(self.0)
    }

    #[inline(always)]
    fn push(&mut self, bytes: usize) -> bool {
        i32::try_from(bytes).is_ok_and(|bytes| self.move_front(-bytes))
    }

    #[inline(always)]
    fn pull(&mut self, bytes: usize) -> bool {
        i32::try_from(bytes).is_ok_and(|bytes| self.move_front(bytes))
    }

    #[inline(always)]
    fn truncate(&mut self, bytes: usize) -> bool {
        let more = self.cursor().frame_len() - bytes;
        let Ok(more) = i32::try_from(more) else {
            return false;
        };
        // SAFETY: as above.
        unsafe { bpf_xdp_adjust_tail(self.md(), -more) == 0 }
    }
}

/// Advances a scalar, never a packet pointer: the verifier then sees one sum checked and used
/// (otherwise it refuses variable header lengths on every kernel).
///
/// Where places are known there is one pointer, and each header is a constant more: one register holds them all.
pub struct XdpCursor<const PLAIN: bool> {
    data: *mut u8,
    end: *mut u8,
    offset: usize,
}

impl<const PLAIN: bool> XdpCursor<PLAIN> {
    /// Stands at the front of the frame.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self {
            data: ctx.data() as *mut u8,
            end: ctx.data_end() as *mut u8,
            offset: 0,
        }
    }

    /// Where it stands.
    #[inline(always)]
    fn place(&self) -> *mut u8 {
        if PLAIN {
            self.data.wrapping_add(self.offset)
        } else {
            (self.data as usize + self.offset) as *mut u8
        }
    }
}

impl<'p, const PLAIN: bool> Cursor<'p> for XdpCursor<PLAIN> {
    #[inline(always)]
    fn take<T: Header>(&mut self) -> Option<&'p mut T> {
        let start = self.place();
        let behind = if PLAIN {
            start.wrapping_add(size_of::<T>())
        } else {
            (start as usize + size_of::<T>()) as *mut u8
        };
        if behind > self.end {
            return None;
        }
        self.offset += size_of::<T>();
        // SAFETY: no frame is at address 0.
        unsafe { core::hint::assert_unchecked(!start.is_null()) };
        // SAFETY: the bytes lie in the frame by the check above; `Header` allows any address and
        // any bits; the offset moves on, so that no two headers overlap.
        Some(unsafe { &mut *start.cast::<T>() })
    }

    #[inline(always)]
    fn peek<T: Header>(&self) -> Option<T> {
        Self { ..*self }.take::<T>().copied()
    }

    #[inline(always)]
    fn skip(&mut self, bytes: usize) {
        self.offset += bytes;
    }

    #[inline(always)]
    fn position(&self) -> usize {
        self.offset
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a position in the frame, masked at once"
    )]
    fn settle(&mut self) {
        self.offset = maps::unlearned(self.offset as u64) as usize & MAX_POSITION;
    }

    #[inline(always)]
    fn settled(number: u64) -> u64 {
        maps::unlearned(number)
    }

    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.end as usize - self.data as usize
    }

    #[inline(always)]
    fn rest(&self) -> usize {
        self.end as usize - self.place() as usize
    }
}
