//! Headers as they lie on the wire, and how to get at them.
//!
//! Headers have alignment 1 and are made of words, not bytes: each field group is one load.
//! Everything here is safe code; the kernel's frame (in `lb-ebpf`) and the host's ([`mod@slice`]) each
//! implement [`Cursor`].

pub mod eth;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod slice;
pub mod transport;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use eth::Eth;
pub use ip::{Address as IpAddress, Ip, Portless};
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use transport::{Ports, Transport};

/// A header that may be laid over packet bytes: alignment 1, no padding, any bit pattern.
pub trait Header: Copy + FromBytes + IntoBytes + Unaligned + KnownLayout + Immutable {}
impl<T> Header for T where T: Copy + FromBytes + IntoBytes + Unaligned + KnownLayout + Immutable {}

/// Hands out disjoint headers of a frame, front to back.
pub trait Cursor<'p>: Sized {
    /// The next header; `None` where the frame ends before it does.
    fn take<T: Header>(&mut self) -> Option<&'p mut T>;

    /// Leaves out `bytes`, which need not be there.
    fn skip(&mut self, bytes: usize);

    /// Length of the whole frame in bytes, wherever the cursor stands.
    fn frame_len(&self) -> usize;
}
