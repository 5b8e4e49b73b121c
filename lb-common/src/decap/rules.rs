//! What is taken out of tunnels: the maps of the program, and what the way asks of them.
//!
//! | map | kind | key | value |
//! |---|---|---|---|
//! | `DECAP_SETTINGS` | array of one | | [`Settings`] |
//! | `DECAP_VIPS` | hash | [`Address`] | 1 |
//! | `DECAP_SOURCES` | longest-prefix trie | bits of the prefix, [`Address`] | 1 |
//! | `DECAP_COUNTERS` | per-CPU array | [`Outcome`](super::Outcome)'s number | packets |
//!
//! All are written before the program is attached, and left alone then: other rules are other maps
//! under another program.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    address::Address,
    interface::Interface,
    wire::{Ip, transport::Tcp},
};

/// Name of the program.
pub const PROGRAM: &str = "xlb_decap";
/// Port and MAC address.
pub const SETTINGS: &str = "DECAP_SETTINGS";
/// Inner destinations.
pub const VIPS: &str = "DECAP_VIPS";
/// Outer sources.
pub const SOURCES: &str = "DECAP_SOURCES";
/// Packets by outcome.
pub const COUNTERS: &str = "DECAP_COUNTERS";

/// GUE's port (draft-ietf-intarea-gue, §8.1).
pub const GUE_PORT: u16 = 6080;

/// The one value of `DECAP_SETTINGS`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Settings {
    /// Where packets come in; its MAC address is theirs.
    pub interface: Interface,
    /// GUE's UDP port, network byte order.
    pub gue_port: [u8; 2],
    /// Free for later use; zero.
    pub reserved: [u8; 6],
}

/// What the way asks of the rules.
pub trait Rules {
    /// MAC address and port.
    fn settings(&self) -> Settings;

    /// Whether an inner destination is a VIP.
    fn is_vip(&self, address: Address) -> bool;

    /// Whether an outer source may send.
    fn is_allowed(&self, source: Address) -> bool;

    /// Whether this host has the connection of a packet that opens none, or makes it of the packet, which
    /// answers a SYN cookie of its own.
    fn knows<I: Ip>(&self, ip: &I, tcp: &Tcp) -> bool;
}
