//! The link that probes of the path come in by: what a client's packet meets on its way, they meet as well.
//!
//! The daemon probes from a network namespace of its own, from ports that name backends, by one end of a veth pair;
//! at the other end its packets come in like a client's. What is answered goes back by the same link.

/// The MAC address of both its ends: the kernel resolves no neighbour there.
pub const MAC: [u8; 6] = *b"\x02xlb\x00\x01";

/// The end where packets come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeLink {
    /// Its index.
    pub ifindex: u32,
    /// The port that names pair 0; the next one names pair 1, and so on. Nothing else on this host has any of them.
    pub first_port: u16,
}

impl ProbeLink {
    /// What [`Constants`](crate::maps::Constants) say of it, index and port; `None` where there is none.
    #[inline(always)]
    #[must_use]
    pub const fn of_constants(ifindex: u16, first_port: u16) -> Option<Self> {
        if first_port == 0 {
            return None;
        }
        Some(Self {
            ifindex: ifindex as u32,
            first_port,
        })
    }

    /// The pair that a port (network byte order) names.
    #[inline(always)]
    #[must_use]
    pub const fn pair(self, port: [u8; 2]) -> Option<u32> {
        let port = u16::from_be_bytes(port);
        if port < self.first_port {
            return None;
        }
        Some((port - self.first_port) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_name_pairs() {
        let link = ProbeLink {
            ifindex: 7,
            first_port: 61_000,
        };
        let pair = |port: u16| link.pair(port.to_be_bytes());
        assert_eq!(pair(60_999), None);
        assert_eq!(pair(61_000), Some(0));
        assert_eq!(pair(65_535), Some(4535));
    }
}
