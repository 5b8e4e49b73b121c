//! Headers as they lie on the wire, and how to get at them.
//!
//! Headers have alignment 1 and are made of words, not bytes: each field group is one load.
//! Everything here is safe code; the kernel's frame (in `lb-ebpf`) and the host's ([`mod@slice`]) each
//! implement [`Cursor`] and [`Frame`].

pub mod eth;
pub mod gue;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod quic;
pub mod slice;
pub mod transport;
pub mod vlan;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use eth::Eth;
pub use ip::{Address as IpAddress, Ip, Portless};
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use transport::{Ports, Transport};

/// A header that may be laid over packet bytes: alignment 1, no padding, any bit pattern.
pub trait Header: Copy + FromBytes + IntoBytes + Unaligned + KnownLayout + Immutable {}
impl<T> Header for T where T: Copy + FromBytes + IntoBytes + Unaligned + KnownLayout + Immutable {}

/// Where a cursor may be settled at most: a number with only ones.
pub const MAX_POSITION: usize = 0xfff;

/// Hands out disjoint headers of a frame, front to back.
pub trait Cursor<'p>: Sized {
    /// The next header; `None` where the frame ends before it does.
    fn take<T: Header>(&mut self) -> Option<&'p mut T>;

    /// A copy of the next header, which stays the next one.
    fn peek<T: Header>(&self) -> Option<T>;

    /// Leaves out `bytes`, which need not be there.
    fn skip(&mut self, bytes: usize);

    /// Bytes before the cursor.
    fn position(&self) -> usize;

    /// Stays where it is, at most [`MAX_POSITION`]. In the kernel, ways that led here over different headers
    /// are one for the verifier from here on: it walks what follows once, and not once for each.
    fn settle(&mut self) {}

    /// The same number; of it likewise.
    #[must_use]
    fn settled(number: u64) -> u64 {
        number
    }

    /// Length of the whole frame in bytes, wherever the cursor stands.
    fn frame_len(&self) -> usize;

    /// Bytes between the cursor and the frame's end; meaningless where it stands behind that.
    fn rest(&self) -> usize;
}

/// A frame whose length changes.
pub trait Frame {
    /// Hands out its headers.
    type Cursor<'p>: Cursor<'p>
    where
        Self: 'p;

    /// A cursor at its front.
    fn cursor(&mut self) -> Self::Cursor<'_>;

    /// A copy of the header at its front.
    #[inline(always)]
    fn head<H: Header>(&mut self) -> Option<H> {
        self.cursor().take::<H>().copied()
    }

    /// Writes the header at its front; `None` where the frame is shorter.
    #[inline(always)]
    fn set_head<H: Header>(&mut self, header: H) -> Option<()> {
        *self.cursor().take::<H>()? = header;
        Some(())
    }

    /// Makes room for `bytes` at the front; `false` where there is none, and nothing has changed.
    #[must_use]
    fn push(&mut self, bytes: usize) -> bool;

    /// Takes `bytes` away at the front; `false` where the frame has no more than that, and nothing has
    /// changed.
    #[must_use]
    fn pull(&mut self, bytes: usize) -> bool;

    /// Cuts the frame off behind `bytes`, which it has; `false` where it cannot, and nothing has changed.
    #[must_use]
    fn truncate(&mut self, bytes: usize) -> bool;
}
