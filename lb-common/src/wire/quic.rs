//! QUIC's long header (RFC 8999, §5.1), as far as it tells whether a connection is opened.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a packet.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Start {
    /// The form of the header, and its type.
    pub first: u8,
    /// The version, network byte order.
    pub version: [u8; 4],
}

impl Start {
    /// Bytes of the shortest datagram that opens a connection (RFC 9000, §14.1).
    pub const LEAST: usize = 1200;

    const LONG: u8 = 0x80;
    const TYPE: u8 = 0x30;
    const V1: u32 = 1;
    const V2: u32 = 0x6b33_43cf;

    /// Whether it is an Initial packet (RFC 9000, §17.2.2; RFC 9369, §3.2). Of a version that nobody knows any
    /// long header may be one. The fixed bit is not looked at: it may be greased (RFC 9287).
    #[inline(always)]
    #[must_use]
    pub const fn is_initial(self) -> bool {
        let kind = self.first & Self::TYPE;
        self.first & Self::LONG != 0
            && match u32::from_be_bytes(self.version) {
                Self::V1 => kind == 0x00,
                Self::V2 => kind == 0x10,
                _ => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn start(first: u8, version: u32) -> Start {
        Start {
            first,
            version: version.to_be_bytes(),
        }
    }

    #[test]
    fn a_long_header_of_type_initial_opens_a_connection() {
        assert!(start(0xc3, 1).is_initial());
        assert!(start(0xd3, Start::V2).is_initial());
        assert!(start(0x80, 0xff00_0020).is_initial());
    }

    #[test]
    fn other_packets_do_not() {
        assert!(!start(0x43, 1).is_initial());
        assert!(!start(0xe0, 1).is_initial());
        assert!(!start(0xc3, Start::V2).is_initial());
    }
}
