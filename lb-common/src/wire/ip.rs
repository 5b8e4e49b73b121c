//! What IPv4 and IPv6 have in common: the data path is written once, over these traits.

use zerocopy::{Immutable, IntoBytes};

use super::{Cursor, Header};
use crate::{address, backend::Tunnel, bits, checksum::Delta, directory};

/// An IP header, options and extension headers aside.
pub trait Ip: Header {
    /// Its address.
    type Address: Address;

    /// Whether it is IPv6.
    const V6: bool = <Self::Address as Address>::V6;

    /// Checks the header against itself and the frame, and moves `cursor` to the transport header. Extension
    /// headers are not followed.
    ///
    /// # Errors
    ///
    /// [`Portless`] where there is no transport header to be found.
    fn payload<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless>;

    /// The same where the transport header is right behind this one; others are [`Portless::Extended`].
    ///
    /// # Errors
    ///
    /// [`Portless`] where there is none there.
    #[inline(always)]
    fn plain_payload<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless> {
        self.payload(cursor)
    }

    /// The same for a packet that may be a fragment, of which only the first has a transport header:
    /// before a later one `cursor` stays somewhere behind the header. Extension headers are followed, a
    /// bounded number of them.
    ///
    /// # Errors
    ///
    /// [`Portless`] where the headers are not to be understood.
    fn piece<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Piece, Portless>;

    /// The same for a packet that an ICMP error quotes, the end of which is not there.
    ///
    /// # Errors
    ///
    /// [`Portless`] where there is no transport header to be found.
    fn quoted<'p, C: Cursor<'p>>(&self, cursor: &mut C) -> Result<Payload, Portless>;

    /// Who sent it.
    fn source(&self) -> Self::Address;

    /// Whom it is for.
    fn destination(&self) -> Self::Address;

    /// Whether it is a header without options whose checksum, if it has one, is right.
    fn is_plain(&self) -> bool;

    /// Whether it is a header without options. Extension headers do not count.
    fn has_no_options(&self) -> bool;

    /// Time to live, or hop limit.
    fn hops(&self) -> u8;

    /// Bytes of the packet by the header's account, the header included.
    fn total_len(&self) -> usize;

    /// Type of service, or traffic class.
    fn class(&self) -> u8;

    /// The sum ([`checksum::sum`](crate::checksum::sum)) of a whole packet whose header checksum is
    /// right, and whose transport checksum over the `len` bytes behind the header is: then the parts
    /// cancel out, and no byte behind the header is read.
    fn packet_sum(&self, protocol: u8, len: usize) -> u16;

    /// The header (without options) of a tunnel.
    fn outer(outer: &Outer<'_>) -> Self;

    /// The header of a packet of xlb's own that carries `len` bytes: of which protocol, and with which type of
    /// service or traffic class.
    fn of_own(
        source: Self::Address,
        destination: Self::Address,
        carries: (u8, u8),
        len: usize,
    ) -> Self;

    /// Writes the type of service, or traffic class.
    fn set_class(&mut self, class: u8);

    /// Writes the sender's address.
    fn set_source(&mut self, address: Self::Address);

    /// Writes the receiver's address.
    fn set_destination(&mut self, address: Self::Address);

    /// Brings the header's checksum, if it has one, up to date.
    fn update_checksum(&mut self, delta: Delta);

    /// The same, and takes one from the time to live, which is not 0 (RFC 1812, §5.3.1; RFC 8200,
    /// §3).
    fn spend_hop(&mut self, delta: Delta);

    /// Writes the time to live, or hop limit.
    fn set_hops(&mut self, hops: u8);

    /// The header's checksum as it lies in memory; 0 where it has none.
    fn checksum(&self) -> u16;
}

/// What a tunnel's header says.
#[derive(Debug)]
pub struct Outer<'t> {
    /// The backend's end.
    pub tunnel: &'t Tunnel,
    /// IP protocol number of what it carries.
    pub carries: u8,
    /// Bytes that it carries.
    pub len: usize,
    /// Type of service, or traffic class.
    pub class: u8,
    /// Bits that vary with the flow: the low ones of the source, and the flow label.
    pub entropy: u32,
}

impl Outer<'_> {
    /// Hops to live of a tunnel's headers (RFC 1700).
    pub const HOPS: u8 = 64;

    /// The bits of the source that vary.
    #[inline(always)]
    #[must_use]
    pub const fn spread(&self) -> u16 {
        bits::low_word(self.entropy & !(u32::MAX << (self.tunnel.spread & 31)))
    }
}

/// Type of service, or traffic class, of ICMP messages: internetwork control (RFC 1812, §4.3.2.5).
pub const ICMP_CLASS: u8 = 0xc0;

/// What follows the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// IP protocol number.
    pub protocol: u8,
    /// Its bytes, by the header's account.
    pub len: usize,
}

/// What follows the IP header of a packet or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What follows, where this is a whole packet or its first fragment.
    pub payload: Payload,
    /// What all fragments of the packet have in common, as it lies on the wire.
    pub identification: u32,
    /// Protocol number by which fragments are put together: with `identification` the same in all.
    pub protocol: u8,
    /// Whether this is a later fragment than the first.
    pub later: bool,
    /// Whether there are later ones.
    pub more: bool,
}

/// What has no ports to find a service by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portless {
    /// A header is cut short, contradicts itself, or promises more than the frame holds.
    Malformed,
    /// A fragment: only the first has ports, and none is told from the first by itself.
    Fragment,
    /// Options of IPv4 or extension headers of IPv6, which take a longer look.
    Extended,
    /// More IPv6 extension headers than are followed.
    ExtensionHeaders,
    /// Another protocol than TCP and UDP, by its number.
    Other(u8),
}

/// An address in registers: native loads of what lies on the wire in network byte order.
pub trait Address: Copy + PartialEq + IntoBytes + Immutable {
    /// Whether it is an IPv6 address.
    const V6: bool;

    /// The address that a table holds.
    fn from_table(address: &address::Address) -> Self;

    /// The address as a table holds it.
    fn to_table(self) -> address::Address;

    /// The words it is found by in the directory: the first twelve bytes, and what goes into the tag.
    fn directory_words(self) -> ([u32; 3], u32);

    /// Sender and receiver mixed with a key, 64 bits.
    fn mix(source: Self, destination: Self, key: u64) -> u64;

    /// Whether it lies in a prefix.
    fn within(self, prefix: Self, mask: Self) -> bool;

    /// The first bits of it, all others zero; so many or more than it has: the address itself.
    #[must_use]
    fn first_bits(self, bits: u8) -> Self;

    /// Whether it may send: no group, not everybody, not nobody, not loopback (RFC 1122, §3.2.1.3;
    /// RFC 4291, §2.5 and §2.7).
    fn may_send(self) -> bool;

    /// The sum ([`checksum::sum`](crate::checksum::sum)) of its words.
    fn sum(self) -> u16;

    /// Its key in the directory, as [`directory::Key::from_wire`] makes it.
    #[inline(always)]
    fn key(self, kind: directory::Kind, port: [u8; 2], protocol: u8) -> directory::Key {
        let (rest, last) = self.directory_words();
        directory::Key {
            tag: directory::tag(kind, last, port, protocol, Self::V6),
            rest,
        }
    }
}
