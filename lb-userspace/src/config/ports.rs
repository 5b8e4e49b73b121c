//! Ports of services and backends.

use std::fmt;

use serde::Serialize;

/// Ports of a service, or those that a backend listens on. The order is that of precedence: a packet
/// is the business of the first service that has its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// One, 1 to 65535.
    One(u16),
    /// Several in a row.
    Range(PortRange),
    /// Every port.
    All,
}

/// Ports in a row, the first below the last, none of them 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The smallest.
    pub first: u16,
    /// The largest.
    pub last: u16,
}

impl Ports {
    /// The smallest port; 0 for all ports.
    #[must_use]
    pub const fn first(self) -> u16 {
        match self {
            Self::One(port) => port,
            Self::Range(range) => range.first,
            Self::All => 0,
        }
    }

    /// The largest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        match self {
            Self::One(port) => port,
            Self::Range(range) => range.last,
            Self::All => u16::MAX,
        }
    }

    /// Whether it is a single port.
    #[must_use]
    pub const fn is_one(self) -> bool {
        matches!(self, Self::One(_))
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.last()) - u32::from(self.first()) + 1
    }

    /// Whether both have a port in common.
    #[must_use]
    pub const fn overlap(self, other: Self) -> bool {
        self.first() <= other.last() && other.first() <= self.last()
    }

    /// As many ports in a row, from another one on: those of a backend of a service with these.
    /// 0 keeps all ports.
    #[must_use]
    pub const fn moved_to(self, first: u16) -> Self {
        match self {
            Self::One(_) => Self::One(first),
            Self::Range(range) => Self::Range(PortRange {
                first,
                last: first.saturating_add(range.last - range.first),
            }),
            Self::All => Self::All,
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(port) => write!(f, "{port}"),
            Self::Range(range) => write!(f, "{range}"),
            Self::All => f.write_str("*"),
        }
    }
}

impl Serialize for PortRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIGHT: Ports = Ports::Range(PortRange {
        first: 8000,
        last: 8007,
    });

    #[test]
    fn the_order_is_that_of_precedence() {
        assert!(Ports::One(u16::MAX) < EIGHT && EIGHT < Ports::All);
    }

    #[test]
    fn ports_overlap_where_they_have_one_in_common() {
        for (port, inside) in [(7999, false), (8000, true), (8007, true), (8008, false)] {
            assert_eq!(EIGHT.overlap(Ports::One(port)), inside, "{port}");
        }
        assert!(Ports::All.overlap(EIGHT));
    }

    #[test]
    fn a_range_keeps_its_length_where_it_is_moved() {
        let moved = EIGHT.moved_to(9000);
        assert_eq!(moved.to_string(), "9000-9007");
        assert_eq!(moved.count(), EIGHT.count());
        assert_eq!(Ports::All.moved_to(0), Ports::All);
    }
}
