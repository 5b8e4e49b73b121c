//! TCP (RFC 9293) and UDP (RFC 768): what both have, at the places where they have it.

use network_types::ip::IpProto;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    Cursor, Header,
    ip::{Payload, Portless},
    quic::Start,
};
use crate::{
    checksum::{Delta, fold},
    flow::Flow,
};

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

impl Ports {
    /// From both, as they lie on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes([a, b, c, d]: [u8; 4]) -> Self {
        Self {
            source: [a, b],
            destination: [c, d],
        }
    }

    /// Both, as they lie on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> [u8; 4] {
        let [a, b] = self.source;
        let [c, d] = self.destination;
        [a, b, c, d]
    }

    /// The sum ([`checksum::sum`](crate::checksum::sum)) of both.
    #[inline(always)]
    #[must_use]
    pub const fn sum(self) -> u16 {
        fold(u16::from_ne_bytes(self.source) as u32 + u16::from_ne_bytes(self.destination) as u32)
    }

    /// Those of an answer.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }
}

/// A TCP header without options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// Ports.
    pub ports: Ports,
    /// What UDP has not.
    pub segment: Segment,
    /// Checksum.
    pub checksum: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}

/// What a TCP header says of its connection.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Segment {
    /// Sequence and acknowledgement number.
    pub numbers: [u8; 8],
    /// Data offset, flags, window.
    pub flags_window: [u8; 4],
}

/// A UDP header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Ports.
    pub ports: Ports,
    /// Length of header and data.
    pub length: [u8; 2],
    /// Checksum; 0: none.
    pub checksum: [u8; 2],
}

/// Protocol number of TCP.
pub const TCP: u8 = IpProto::Tcp as u8;
/// Protocol number of UDP.
pub const UDP: u8 = IpProto::Udp as u8;

/// What a TCP and a UDP header have in common.
#[derive(Debug)]
pub struct Transport<'p> {
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    header: Layer<'p>,
}

/// Fields are read where they are asked for, which many never are.
#[derive(Debug)]
enum Layer<'p> {
    Tcp(&'p mut Tcp),
    /// And whether it opens a QUIC connection.
    Udp(&'p mut Udp, bool),
}

impl Tcp {
    /// Whether it opens a connection or answers to that.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.segment.flags() & SYN != 0
    }
}

impl Segment {
    /// The sequence number.
    #[inline(always)]
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        let [a, b, c, d, ..] = self.numbers;
        u32::from_be_bytes([a, b, c, d])
    }

    /// FIN, SYN, RST, ACK and others.
    #[inline(always)]
    #[must_use]
    pub const fn flags(&self) -> u8 {
        let [_, flags, ..] = self.flags_window;
        flags
    }
}

/// Flags of TCP.
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

impl<'p> Transport<'p> {
    /// The header behind an IP header, where `cursor` stands.
    ///
    /// # Errors
    ///
    /// [`Portless`] where it is of another protocol, or where the frame or the IP payload end before
    /// it does.
    #[inline(always)]
    pub fn take<C: Cursor<'p>>(payload: Payload, cursor: &mut C) -> Result<Self, Portless> {
        let protocol = payload.protocol;
        let header = match protocol {
            TCP => Layer::Tcp(header(payload.len, cursor)?),
            UDP => Layer::Udp(header(payload.len, cursor)?, false),
            other => return Err(Portless::Other(other)),
        };
        Ok(Self { protocol, header })
    }

    /// Ports.
    #[inline(always)]
    #[must_use]
    pub const fn ports(&self) -> Ports {
        match &self.header {
            Layer::Tcp(tcp) => tcp.ports,
            Layer::Udp(udp, _) => udp.ports,
        }
    }

    /// Its ports, to be written.
    #[inline(always)]
    pub const fn ports_mut(&mut self) -> &mut Ports {
        match &mut self.header {
            Layer::Tcp(tcp) => &mut tcp.ports,
            Layer::Udp(udp, _) => &mut udp.ports,
        }
    }

    /// Takes a datagram of `len` bytes, behind whose header `cursor` stands, for one of QUIC: it may open a
    /// connection.
    #[inline(always)]
    pub fn read_quic<C: Cursor<'p>>(&mut self, len: usize, cursor: &C) {
        if len < size_of::<Udp>() + Start::LEAST {
            return;
        }
        if let Layer::Udp(_, is_initial) = &mut self.header {
            *is_initial = cursor.peek::<Start>().is_some_and(Start::is_initial);
        }
    }

    /// Stays as it is, of QUIC or not: as [`Cursor::settle`].
    #[inline(always)]
    pub fn settle<C: Cursor<'p>>(&mut self) {
        if let Layer::Udp(_, is_initial) = &mut self.header {
            *is_initial = C::settled((*is_initial).into()) & 1 != 0;
        }
    }

    /// Whether its checksum covers an IP payload of `len` bytes, all of it: a datagram may end before
    /// (RFC 9868).
    #[inline(always)]
    #[must_use]
    pub const fn covers(&self, len: usize) -> bool {
        match &self.header {
            Layer::Tcp(_) => true,
            Layer::Udp(udp, _) => u16::from_be_bytes(udp.length) as usize == len,
        }
    }

    /// TCP's sequence number; 0 of UDP.
    #[inline(always)]
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        match &self.header {
            Layer::Tcp(tcp) => tcp.segment.sequence(),
            Layer::Udp(..) => 0,
        }
    }

    /// TCP's flags; 0 of UDP.
    #[inline(always)]
    const fn flags(&self) -> u8 {
        match &self.header {
            Layer::Tcp(tcp) => tcp.segment.flags(),
            Layer::Udp(..) => 0,
        }
    }

    /// Whether it opens a connection.
    #[inline(always)]
    #[must_use]
    pub const fn opens(&self) -> bool {
        match &self.header {
            Layer::Tcp(tcp) => tcp.segment.flags() & (SYN | ACK) == SYN,
            Layer::Udp(_, is_initial) => *is_initial,
        }
    }

    /// Whether it opens a connection or answers to that.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.flags() & SYN != 0
    }

    /// Whether it ends a connection at once, or refuses one.
    #[inline(always)]
    #[must_use]
    pub const fn is_reset(&self) -> bool {
        self.flags() & RST != 0
    }

    /// What a remembered flow is marked with: [`Flow::CLOSING`], [`Flow::OPENING`] or 0.
    #[inline(always)]
    #[must_use]
    pub const fn marks(&self) -> u32 {
        if self.flags() & (FIN | RST) != 0 {
            Flow::CLOSING
        } else if self.is_syn() {
            Flow::OPENING
        } else {
            0
        }
    }

    /// Whether there is a checksum: a UDP datagram may have none (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn has_checksum(&self) -> bool {
        match &self.header {
            Layer::Tcp(_) => true,
            Layer::Udp(udp, _) => u16::from_ne_bytes(udp.checksum) != 0,
        }
    }

    /// Brings the checksum up to date.
    ///
    /// A UDP checksum of 0 says that there is none and stays; one that comes out as 0 is sent as
    /// all ones (RFC 768).
    #[inline(always)]
    pub const fn update_checksum(&mut self, delta: Delta) {
        match &mut self.header {
            Layer::Tcp(tcp) => {
                let old = u16::from_ne_bytes(tcp.checksum);
                tcp.checksum = delta.update(old).to_ne_bytes();
            }
            Layer::Udp(udp, _) => udp.update_checksum(delta),
        }
    }
}

impl Udp {
    /// Brings the checksum up to date, like [`Transport::update_checksum`].
    #[inline(always)]
    pub const fn update_checksum(&mut self, delta: Delta) {
        self.checksum = udp_checksum(self.checksum, delta);
    }
}

#[inline(always)]
const fn udp_checksum(before: [u8; 2], delta: Delta) -> [u8; 2] {
    let old = u16::from_ne_bytes(before);
    match (old, delta.update(old)) {
        (0, _) => before,
        (_, 0) => [0xff; 2],
        (_, new) => new.to_ne_bytes(),
    }
}

#[inline(always)]
fn header<'p, T: Header + 'p, C: Cursor<'p>>(
    len: usize,
    cursor: &mut C,
) -> Result<&'p mut T, Portless> {
    if len < size_of::<T>() {
        return Err(Portless::Malformed);
    }
    cursor.take().ok_or(Portless::Malformed)
}
