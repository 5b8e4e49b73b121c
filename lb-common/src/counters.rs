//! What is counted, per CPU.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Packets of one service and backend, in the map `STATS` under the pair's index.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Traffic {
    /// Packets towards the backend.
    pub packets: u64,
    /// Their bytes as received, Ethernet header included.
    pub bytes: u64,
    /// Packets of the way back.
    pub return_packets: u64,
    /// Their bytes.
    pub return_bytes: u64,
}

/// What packets show of one service's backend, in the map `SIGNALS` under the pair's index: a
/// [`Signal`](crate::attempt::Signal) each. All CPUs add to it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Signals {
    /// Connections that clients began to open.
    pub tried: u64,
    /// Those of them whose SYN came again.
    pub again: u64,
    /// Those that opened.
    pub opened: u64,
    /// Connections that the backend ended or refused (RST), where its answers pass here.
    pub resets: u64,
}

impl core::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.return_packets = self.return_packets.wrapping_add(other.return_packets);
        self.return_bytes = self.return_bytes.wrapping_add(other.return_bytes);
    }
}

/// ICMP messages that one CPU may make yet: a token bucket, in the map `ALLOWANCE`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Allowance {
    /// Messages.
    pub left: u64,
    /// When it was filled last, in nanoseconds since the system started.
    pub filled_ns: u64,
}

impl Allowance {
    /// Takes one message; `false` where none is left. `rate` a second, and as many at once.
    #[inline(always)]
    #[must_use]
    pub const fn take(&mut self, rate: u32, now_ns: u64) -> bool {
        const SECOND_NS: u64 = 1_000_000_000;
        let rate = rate as u64;
        let passed = now_ns.wrapping_sub(self.filled_ns);
        let earned = if passed >= SECOND_NS {
            rate
        } else {
            passed * rate / SECOND_NS
        };
        if earned > 0 {
            let left = self.left + earned;
            self.left = if left > rate { rate } else { left };
            self.filled_ns = now_ns;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}
