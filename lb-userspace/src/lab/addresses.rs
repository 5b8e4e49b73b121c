//! Who has which address. Subnets are those reserved for documentation (RFC 5737, RFC 3849), and a
//! private one for the backends.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Pair;

/// A /24, and a /64 of `2001:db8::/32`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subnet {
    v4: [u8; 3],
    v6: u16,
}

/// Where clients are.
pub(super) const CLIENTS: Subnet = Subnet::new([198, 51, 100], 1);
/// Between router and balancer.
pub(super) const TRANSIT: Subnet = Subnet::new([192, 0, 2], 2);
/// Between router and the second of two balancers.
pub(super) const SECOND_TRANSIT: Subnet = Subnet::new([10, 0, 2], 3);
/// Where backends are.
pub(super) const SERVERS: Subnet = Subnet::new([10, 0, 0], 0xa);
/// Where backends behind a router of their own are.
pub(super) const FAR: Subnet = Subnet::new([10, 0, 1], 0xb);
/// Where VIPs are; on no link, routed to the balancer.
pub(super) const VIPS: Subnet = Subnet::new([203, 0, 113], 0xf);

impl Subnet {
    const fn new(v4: [u8; 3], v6: u16) -> Self {
        Self { v4, v6 }
    }

    /// The host whose IPv4 address ends in `.host`, its IPv6 address in `::host`, both decimal.
    pub(super) const fn host(self, host: u8) -> Pair {
        let [a, b, c] = self.v4;
        let digits = decimal_digits(host);
        Pair {
            v4: Ipv4Addr::new(a, b, c, host),
            v6: Ipv6Addr::new(0x2001, 0xdb8, self.v6, 0, 0, 0, 0, digits),
        }
    }
}

/// The hexadecimal number that reads like this decimal one: 11 becomes 0x11.
const fn decimal_digits(number: u8) -> u16 {
    let number = number as u16;
    number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10
}

/// A locally administered address that tells whose it is.
pub(super) const fn mac(host: u8) -> [u8; 6] {
    [0x02, 0, 0, 0, 0, host]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_end_in_the_same_digits() {
        let host = SERVERS.host(112);
        assert_eq!(host.v4.to_string(), "10.0.0.112");
        assert_eq!(host.v6.to_string(), "2001:db8:a::112");
    }
}
