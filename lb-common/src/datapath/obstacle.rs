//! What keeps a packet from going on, and whether its sender is told.

use super::{Decision, Detour, Note, Tables};
use crate::{DropReason, bits, wire::IpAddress};

/// Why a packet does not go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Obstacle {
    reason: DropReason,
    /// What an ICMP error would say: bytes of the longest packet that could pass, 0 where the time to
    /// live ran out. `None`: none is due.
    tells: Option<usize>,
}

impl From<DropReason> for Obstacle {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self {
            reason,
            tells: None,
        }
    }
}

impl Obstacle {
    /// The time to live ran out.
    pub(super) const HOPS: Self = Self {
        reason: DropReason::TtlExpired,
        tells: Some(0),
    };

    /// The way lets packets of up to `mtu` bytes through.
    #[inline(always)]
    pub(super) const fn mtu(mtu: usize) -> Self {
        Self {
            reason: DropReason::MtuExceeded,
            tells: Some(mtu),
        }
    }

    /// Has the packet's sender told in the name of a VIP, where errors are made at all.
    #[inline(always)]
    pub(super) fn told<'t, A: IpAddress, T: Tables>(self, vip: A, tables: &T) -> Decision<'t> {
        /// No IPv6 link has less (RFC 8200, §5).
        const LEAST_V6: usize = 1280;
        let mtu = match self.tells {
            Some(mtu) if tables.icmp_rate() != 0 => mtu,
            _ => return self.reason.into(),
        };
        let mtu = if A::V6 && mtu != 0 {
            mtu.max(LEAST_V6)
        } else {
            mtu
        };
        tables.leave_note(Note {
            source: vip.to_table(),
            mtu: bits::length(mtu).into(),
            clamped: 0,
        });
        Detour::Answer.into()
    }

    /// Tells nobody: of an error no error is made, of later fragments neither (RFC 1122, §3.2.2).
    #[inline(always)]
    pub(super) const fn quiet(self) -> DropReason {
        self.reason
    }
}
