//! ICMP (RFC 792) and `ICMPv6` (RFC 4443): what both have at the same places.

use network_types::ip::IpProto;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Ip;
use crate::checksum::Delta;

/// The first eight bytes of a message.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Icmp {
    /// Type and code.
    pub kind: [u8; 2],
    /// Checksum; of `ICMPv6` over the pseudo-header, too.
    pub checksum: [u8; 2],
    /// By type: an identifier and sequence number, or the MTU of the next hop.
    pub rest: [u8; 4],
}

/// The protocol number of a family's ICMP.
#[inline(always)]
#[must_use]
pub const fn number<I: Ip>() -> u8 {
    if I::V6 {
        IpProto::Ipv6Icmp as u8
    } else {
        IpProto::Icmp as u8
    }
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Echo request.
    Echo,
    /// A packet was too long for its way: fragmentation needed, or packet too big.
    TooBig,
    /// Another error about a packet.
    Error,
    /// Anything else.
    Other,
}

const ECHO: [u8; 2] = [8, 0];
const ECHO_REPLY: [u8; 2] = [0, 0];
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
const PORT_UNREACHABLE: [u8; 2] = [3, 3];
const TIME_EXCEEDED: [u8; 2] = [11, 0];

const ECHO_V6: [u8; 2] = [128, 0];
const ECHO_REPLY_V6: [u8; 2] = [129, 0];
const PACKET_TOO_BIG: [u8; 2] = [2, 0];
const PORT_UNREACHABLE_V6: [u8; 2] = [1, 4];
const TIME_EXCEEDED_V6: [u8; 2] = [3, 0];

impl Icmp {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// For [`Self::error`], in the place of an MTU: nobody listens on the packet's port.
    pub const NO_PORT: u32 = u32::MAX;

    /// What it is about. Destination unreachable, time exceeded and parameter problem are errors; source
    /// quench is deprecated (RFC 6633), a redirect speaks of a route.
    #[inline(always)]
    #[must_use]
    pub const fn about<I: Ip>(&self) -> Kind {
        let [kind, code] = self.kind;
        match (I::V6, kind, code) {
            (false, 8, 0) | (true, 128, 0) => Kind::Echo,
            (false, 3, 4) | (true, 2, _) => Kind::TooBig,
            (false, 3 | 11 | 12, _) | (true, 1 | 3 | 4, _) => Kind::Error,
            _ => Kind::Other,
        }
    }

    /// The MTU of a [`Kind::TooBig`], in bytes; 0 where an old router does not tell (RFC 1191, §5).
    #[inline(always)]
    #[must_use]
    pub const fn mtu<I: Ip>(&self) -> u32 {
        let mtu = u32::from_be_bytes(self.rest);
        if I::V6 { mtu } else { mtu & 0xffff }
    }

    /// Brings the checksum up to date.
    #[inline(always)]
    pub const fn update_checksum(&mut self, delta: Delta) {
        let checksum = u16::from_ne_bytes(self.checksum);
        self.checksum = delta.update(checksum).to_ne_bytes();
    }

    /// Type and code of an echo request and of its reply.
    #[inline(always)]
    #[must_use]
    pub const fn echo<I: Ip>() -> ([u8; 2], [u8; 2]) {
        if I::V6 {
            (ECHO_V6, ECHO_REPLY_V6)
        } else {
            (ECHO, ECHO_REPLY)
        }
    }

    /// An error without its checksum: a packet is longer than `mtu` bytes, or, where that is 0, its time
    /// to live ran out, or, where it is [`Self::NO_PORT`], nobody takes it.
    #[inline(always)]
    #[must_use]
    pub const fn error<I: Ip>(mtu: u32) -> Self {
        let (kind, mtu) = match (I::V6, mtu) {
            (false, 0) => (TIME_EXCEEDED, 0),
            (false, Self::NO_PORT) => (PORT_UNREACHABLE, 0),
            (false, mtu) => (FRAGMENTATION_NEEDED, mtu),
            (true, 0) => (TIME_EXCEEDED_V6, 0),
            (true, Self::NO_PORT) => (PORT_UNREACHABLE_V6, 0),
            (true, mtu) => (PACKET_TOO_BIG, mtu),
        };
        Self {
            kind,
            checksum: [0; 2],
            rest: mtu.to_be_bytes(),
        }
    }
}
