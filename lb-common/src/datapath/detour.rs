//! What leaves the common path: packets that need more than a look-up and a rewrite, each kind in a
//! program of its own, so that none of them costs the others anything, not even instructions.
//!
//! The kernel gets from one program to the next by a tail call, the host build by a loop. A program
//! starts from the frame again; what it could not read there stands in the [`Note`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Verdict,
    address::Address,
    backend::Mode,
    maps::{Constants, Feature},
};

/// What a program comes to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The packet's fate.
    Done(Verdict),
    /// Another program goes on with the packet.
    Detour(Detour),
}

impl<V: Into<Verdict>> From<V> for Step {
    #[inline(always)]
    fn from(verdict: V) -> Self {
        Self::Done(verdict.into())
    }
}

/// The programs, by their index in the map `DETOURS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Detour {
    /// The common path, for a packet that comes back to it.
    Common = 0,
    /// ICMP and ICMPv6.
    Icmp = 1,
    /// Fragments, and IPv6 packets with extension headers.
    Fragment = 2,
    /// A flow that has to be remembered.
    Flow = 3,
    /// A SYN whose segment size is limited.
    Syn = 4,
    /// An ICMP error is made of the packet, as the [`Note`] says.
    Answer = 5,
}

impl Detour {
    /// Every program, in the order of the indices.
    pub const ALL: [Self; 6] = [
        Self::Common,
        Self::Icmp,
        Self::Fragment,
        Self::Flow,
        Self::Syn,
        Self::Answer,
    ];

    /// Whether packets may come there under these constants: others need not be loaded.
    #[must_use]
    pub const fn is_used(self, constants: &Constants) -> bool {
        let remembers = constants.modes & Mode::FullNat.bit() != 0
            || constants.features & Feature::Shared as u32 != 0;
        match self {
            Self::Common | Self::Icmp | Self::Fragment => true,
            Self::Flow => remembers,
            Self::Syn => constants.features & Feature::Mss as u32 != 0,
            Self::Answer => constants.icmp_rate != 0,
        }
    }

    /// The program's name in the object.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Common => crate::maps::PROGRAM,
            Self::Icmp => "xlb_icmp",
            Self::Fragment => "xlb_fragment",
            Self::Flow => "xlb_flow",
            Self::Syn => "xlb_syn",
            Self::Answer => "xlb_answer",
        }
    }
}

/// What one program tells the next about the packet that both see: the only value of this CPU in the
/// map `NOTE`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Note {
    /// For [`Detour::Answer`]: whom the answer comes from.
    pub source: Address,
    /// For [`Detour::Answer`]: bytes of the longest packet that could pass; 0: the packet's time to live
    /// ran out.
    pub mtu: u32,
    /// For [`Detour::Common`]: 1 where the segment size is as it should be.
    pub clamped: u32,
}
