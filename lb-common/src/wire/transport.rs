//! TCP (RFC 9293) and UDP (RFC 768): what both have, at the places where they have it.

use network_types::ip::IpProto;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Cursor;
use crate::checksum::Delta;

/// Source and destination port, network byte order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Ports {
    /// The sender's.
    pub source: [u8; 2],
    /// The receiver's.
    pub destination: [u8; 2],
}

/// The checksum field.
#[derive(Debug)]
pub struct Checksum<'p> {
    /// As it lies on the wire.
    field: &'p mut [u8; 2],
    /// UDP: 0 says that there is none.
    optional: bool,
}

/// TCP behind the ports, 20 bytes of header in all; options are not looked at.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TcpTail {
    /// Sequence and acknowledgement number.
    pub numbers: [u8; 8],
    /// Data offset, flags, window.
    pub flags_window: [u8; 4],
    /// Checksum.
    pub checksum: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

/// UDP behind the ports.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct UdpTail {
    /// Length of header and data.
    pub length: [u8; 2],
    /// Checksum; 0: none.
    pub checksum: [u8; 2],
}

/// Bytes of a TCP header without options.
const TCP_LEN: usize = size_of::<Ports>() + size_of::<TcpTail>();
/// Bytes of a UDP header.
const UDP_LEN: usize = size_of::<Ports>() + size_of::<UdpTail>();

/// Protocol number of TCP.
pub const TCP: u8 = IpProto::Tcp as u8;
/// Protocol number of UDP.
pub const UDP: u8 = IpProto::Udp as u8;

impl<'p> Checksum<'p> {
    /// The checksum behind the ports, where `cursor` stands; `None` where the frame, or the `len`
    /// bytes of the IP payload, end before the header does.
    #[inline(always)]
    pub fn take<C: Cursor<'p>>(protocol: u8, len: usize, cursor: &mut C) -> Option<Self> {
        if protocol == TCP {
            let tcp = cursor.take::<TcpTail>().filter(|_| len >= TCP_LEN)?;
            Some(Self {
                field: &mut tcp.checksum,
                optional: false,
            })
        } else {
            let udp = cursor.take::<UdpTail>().filter(|_| len >= UDP_LEN)?;
            Some(Self {
                field: &mut udp.checksum,
                optional: true,
            })
        }
    }

    /// Brings it up to date.
    ///
    /// A UDP checksum of 0 says that there is none and stays; one that comes out as 0 is sent as
    /// all ones (RFC 768).
    #[inline(always)]
    pub fn update(self, delta: Delta) {
        let old = u16::from_ne_bytes(*self.field);
        if self.optional && old == 0 {
            return;
        }
        let new = delta.update(old);
        *self.field = (if self.optional && new == 0 {
            0xffff
        } else {
            new
        })
        .to_ne_bytes();
    }
}
