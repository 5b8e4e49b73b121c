//! ICMP and `ICMPv6` messages.

use std::net::{IpAddr, SocketAddr};

use super::{Body, Frame};

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of `ICMPv6`.
pub const ICMPV6: u8 = 58;

/// What a message has before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whether it is `ICMPv6`.
    pub v6: bool,
    /// Type and code.
    pub kind: [u8; 2],
    /// By type: an identifier and a sequence number, the MTU of the next hop, or nothing.
    pub rest: [u8; 4],
}

/// What an error says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// It is longer than so many bytes: fragmentation needed, packet too big.
    TooBig(u32),
    /// Its port is closed.
    PortUnreachable,
    /// There is no way to its address.
    AddressUnreachable,
    /// Its time to live ran out.
    HopsExceeded,
    /// Its fragments did not come in time.
    ReassemblyTime,
    /// A header has an error, at a certain byte.
    Parameter(u8),
}

impl Complaint {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::TooBig(1400),
        Self::PortUnreachable,
        Self::AddressUnreachable,
        Self::HopsExceeded,
        Self::ReassemblyTime,
        Self::Parameter(9),
    ];

    /// The message's head (RFC 792, RFC 1191 §4; RFC 4443 §3).
    #[must_use]
    pub const fn message(self, v6: bool) -> Message {
        let rest = match (self, v6) {
            (Self::TooBig(mtu), _) => mtu.to_be_bytes(),
            (Self::Parameter(at), false) => [at, 0, 0, 0],
            (Self::Parameter(at), true) => [0, 0, 0, at],
            _ => [0; 4],
        };
        let (v4_kind, v6_kind) = match self {
            Self::TooBig(_) => ([3, 4], [2, 0]),
            Self::PortUnreachable => ([3, 3], [1, 4]),
            Self::AddressUnreachable => ([3, 1], [1, 3]),
            Self::HopsExceeded => ([11, 0], [3, 0]),
            Self::ReassemblyTime => ([11, 1], [3, 1]),
            Self::Parameter(_) => ([12, 0], [4, 0]),
        };
        let kind = if v6 { v6_kind } else { v4_kind };
        Message { v6, kind, rest }
    }
}

impl Message {
    /// IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        if self.v6 { ICMPV6 } else { ICMP }
    }

    /// The message with its checksum; that of `ICMPv6` covers the addresses, too.
    pub(super) fn bytes(self, source: IpAddr, destination: IpAddr, body: &[u8]) -> Vec<u8> {
        let mut bytes = [&self.kind[..], &[0; 2], &self.rest, body].concat();
        let mut covered = bytes.clone();
        covered.resize(bytes.len().next_multiple_of(2), 0);
        if self.v6 {
            covered.extend(pseudo_header(source, destination, bytes.len(), ICMPV6));
        }
        let checksum = !sum(&covered);
        bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// What a checksum over IPv6 covers besides the payload (RFC 8200, §8.1).
fn pseudo_header(source: IpAddr, destination: IpAddr, len: usize, protocol: u8) -> Vec<u8> {
    let mut header = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => header.extend(v4.octets()),
            IpAddr::V6(v6) => header.extend(v6.octets()),
        }
    }
    header.extend((len as u32).to_be_bytes());
    header.extend([0, 0, 0, protocol]);
    header
}

/// The one's complement sum of words, one at a time (RFC 1071).
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for word in bytes.chunks(2) {
        let [high, low] = [word[0], word.get(1).copied().unwrap_or(0)];
        sum += u32::from(u16::from_be_bytes([high, low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

impl Frame {
    /// An ICMP message between two addresses.
    #[must_use]
    pub fn message(message: Message, source: IpAddr, destination: IpAddr, body: Vec<u8>) -> Self {
        Self {
            body: Body::Icmp(message),
            payload: body,
            ..Self::new(
                message.number(),
                SocketAddr::new(source, 0),
                SocketAddr::new(destination, 0),
            )
        }
    }

    /// An echo request.
    #[must_use]
    pub fn echo(source: IpAddr, destination: IpAddr, identifier: u16, sequence: u16) -> Self {
        let ([a, b], [c, d]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
        let v6 = source.is_ipv6();
        let message = Message {
            v6,
            kind: if v6 { [128, 0] } else { [8, 0] },
            rest: [a, b, c, d],
        };
        Self::message(message, source, destination, b"abcdefghijk".to_vec())
    }

    /// The error that somebody sends to a frame's sender, quoting its IP header and so many bytes behind
    /// that.
    #[must_use]
    pub fn error(&self, complaint: Complaint, from: IpAddr, bytes: usize) -> Self {
        let message = complaint.message(self.source.is_ipv6());
        Self::message(message, from, self.source.ip(), self.quoted(bytes))
    }

    /// Its IP header and so many bytes behind it, as far as there are.
    #[must_use]
    pub fn quoted(&self, bytes: usize) -> Vec<u8> {
        let mut packet = self.packet();
        packet.truncate(self.header_len().saturating_add(bytes));
        packet
    }

    /// The packet without Ethernet and padding.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let mut bytes = self.bytes().split_off(14 + 4 * self.tags.len());
        bytes.truncate(bytes.len() - self.padding.len());
        bytes
    }

    /// Bytes of its IP header, options and extension headers included.
    #[must_use]
    pub fn header_len(&self) -> usize {
        if self.source.is_ipv6() {
            let extensions = self.extensions.iter();
            40 + extensions.map(|(_, rest)| 1 + rest.len()).sum::<usize>()
        } else {
            20 + self.options.len()
        }
    }
}
