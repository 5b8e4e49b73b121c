//! What leaves the common path: packets that need more than a look-up and a rewrite, each kind in a
//! program of its own, so that none of them costs the others anything, not even instructions.
//!
//! The kernel gets from one program to the next by a tail call, the host build by a loop. A program
//! starts from the frame again; what it could not read there stands in the [`Note`].

use core::hint;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    DropReason, Verdict,
    address::Address,
    backend::Mode,
    bits,
    maps::{Constants, Feature, PLAIN_PROGRAM, PROGRAM},
    wire::Ip,
};

/// What a program comes to: a verdict, or that another program goes on with the packet. In one word, so
/// that each way out costs the program one constant, and no part of it is left undefined, which the
/// verifier refuses to see copied.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step(u64);

/// The parts of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Passed, answered or dropped for the reason of this number.
    Reason(u32),
    /// [`Verdict::Transmit`].
    Transmit,
    /// [`Verdict::Redirect`], to this interface.
    Redirect(u32),
    /// The program of this index goes on.
    Detour(u32),
}

impl Step {
    // What most packets come to: asked for first, by one comparison. No reason has this number.
    const TRANSMIT: u64 = 0xffff;
    // The kind in the high half, its number in the low one.
    const REDIRECT: u64 = 1 << 32;
    const DETOUR: u64 = 2 << 32;

    /// Its parts.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> StepKind {
        if self.0 == Self::TRANSMIT {
            return StepKind::Transmit;
        }
        let number = bits::low_half(self.0);
        match self.0 - number as u64 {
            0 => StepKind::Reason(number),
            Self::REDIRECT => StepKind::Redirect(number),
            _ => StepKind::Detour(number),
        }
    }

    /// The verdict.
    ///
    /// # Errors
    ///
    /// The program that goes on.
    #[inline]
    pub fn unpacked(self) -> Result<Verdict, Detour> {
        Ok(match self.kind() {
            StepKind::Reason(number) => Verdict::of_reason(number),
            StepKind::Transmit => Verdict::Transmit,
            StepKind::Redirect(ifindex) => Verdict::Redirect(ifindex),
            StepKind::Detour(index) => {
                let detour = Detour::ALL.into_iter().find(|it| *it as u32 == index);
                return detour.map_or_else(|| Ok(DropReason::TableError.into()), Err);
            }
        })
    }
}

impl<V: Into<Verdict>> From<V> for Step {
    #[inline(always)]
    fn from(verdict: V) -> Self {
        Self(match verdict.into() {
            Verdict::Transmit => Self::TRANSMIT,
            Verdict::Redirect(ifindex) => Self::REDIRECT | u64::from(ifindex),
            Verdict::Answer(reason) => aside(reason.index()).into(),
            Verdict::Pass(reason) => aside(reason.index()).into(),
            Verdict::Drop(reason) => aside(reason.index()).into(),
        })
    }
}

impl Step {
    /// The program of this index goes on.
    #[inline(always)]
    pub(super) const fn detour(index: u32) -> Self {
        Self(Self::DETOUR | index as u64)
    }
}

impl From<Detour> for Step {
    #[inline(always)]
    fn from(detour: Detour) -> Self {
        Self::detour(aside(detour as u32))
    }
}

/// The number itself, of which the compiler knows nothing: one that it knows it puts into a register before the branch
/// to the way out, so that packets that do not take that way pay for it, too.
#[inline(always)]
const fn aside(number: u32) -> u32 {
    hint::black_box(number)
}

/// The programs, by their index in the map `DETOURS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Detour {
    /// The common path, for a packet that comes back to it.
    Common = 0,
    /// ICMP.
    Icmp = 1,
    /// Fragments, and packets with IPv4 options or IPv6 extension headers.
    Fragment = 2,
    /// A flow that has to be remembered.
    Flow = 3,
    /// A SYN whose segment size is limited.
    Syn = 4,
    /// An ICMP error is made of the packet, as the [`Note`] says.
    Answer = 5,
    /// A frame with VLAN tags: the common path, between taking them off and putting them back.
    Tagged = 6,
    /// ICMPv6.
    Icmp6 = 7,
    /// Who has a flow whose row moves.
    Moving = 8,
    /// An RST is made of the packet.
    Reset = 9,
    /// No backend takes the packet: its sender is told, where its service says so.
    Refuse = 10,
}

impl Detour {
    /// Programs.
    pub const COUNT: u32 = 11;

    /// Every program, in the order of the indices.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::Common,
        Self::Icmp,
        Self::Fragment,
        Self::Flow,
        Self::Syn,
        Self::Answer,
        Self::Tagged,
        Self::Icmp6,
        Self::Moving,
        Self::Reset,
        Self::Refuse,
    ];

    /// The program for ICMP in packets of a family.
    #[inline(always)]
    pub(super) const fn icmp<I: Ip>() -> Self {
        if I::V6 { Self::Icmp6 } else { Self::Icmp }
    }

    /// Whether packets may come there under these constants: others need not be loaded.
    #[must_use]
    pub const fn is_used(self, constants: &Constants) -> bool {
        let remembers = constants.modes & Mode::FullNat.bit() != 0
            || constants.features & Feature::Shared as u32 != 0;
        match self {
            Self::Common | Self::Tagged | Self::Fragment => true,
            Self::Icmp => constants.ipv4 != 0,
            Self::Icmp6 => constants.ipv6 != 0,
            Self::Flow => remembers,
            Self::Syn => constants.features & Feature::Mss as u32 != 0,
            Self::Answer => constants.icmp_rate != 0,
            Self::Moving | Self::Reset => constants.features & Feature::Tracking as u32 != 0,
            Self::Refuse => constants.features & Feature::Refusal as u32 != 0,
        }
    }

    /// The program's name in the object, under these constants.
    #[must_use]
    pub const fn program(self, constants: &Constants) -> &'static str {
        match self {
            Self::Common if constants.are_plain() => PLAIN_PROGRAM,
            other => other.name(),
        }
    }

    /// The name of the program that does this for every configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Common => PROGRAM,
            Self::Icmp => "xlb_icmp",
            Self::Icmp6 => "xlb_icmp6",
            Self::Fragment => "xlb_fragment",
            Self::Flow => "xlb_flow",
            Self::Syn => "xlb_syn",
            Self::Answer => "xlb_answer",
            Self::Tagged => "xlb_tagged",
            Self::Moving => "xlb_moving",
            Self::Reset => "xlb_reset",
            Self::Refuse => "xlb_refuse",
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
    /// ran out; [`Icmp::NO_PORT`](crate::wire::icmp::Icmp::NO_PORT): nobody takes it.
    pub mtu: u32,
    /// For [`Detour::Common`]: 1 where the segment size is as it should be.
    pub clamped: u32,
}
