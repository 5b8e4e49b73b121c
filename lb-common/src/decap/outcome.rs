//! What becomes of a packet, and why.
//!
//! An outcome's number is also the index of its counter, and never used again for another meaning.

use crate::verdict::reasons;

/// Counters of outcomes: the length of the map `DECAP_COUNTERS`.
pub const OUTCOMES: u32 = 32;

/// The first number of an outcome that is a packet taken out of its tunnel; below are packets that are
/// left as they are.
const FIRST_TAKEN: u32 = 8;
/// The first number of an outcome that is a packet thrown away.
const FIRST_DROP: u32 = 16;

reasons! {
    /// What becomes of a packet.
    Outcome {
        /// Left: no packet of a tunnel that is read here.
        NotTunnel = 0, "not_tunnel";
        /// Left: the frame is addressed to another machine, to a group or to all.
        NotOurMac = 1, "not_our_mac";
        /// Left: a fragment; tunnels are read only whole.
        Fragment = 2, "fragment";
        /// Left: an outer header that is cut short, contradicts itself, has options or a wrong checksum.
        Malformed = 3, "malformed";
        /// Left, for the kernel to forward: a connection that this host does not know, and that the backend may
        /// which the tunnel's header names.
        HandedOver = 4, "handed_over";
        /// Taken out of an IP packet.
        Ipip = 8, "ipip";
        /// Taken out of Generic UDP Encapsulation.
        Gue = 9, "gue";
        /// Dropped: the outer source is none of those that are allowed.
        SourceNotAllowed = 16, "source_not_allowed";
        /// Dropped: the inner destination is none of the VIPs.
        NotOurVip = 17, "not_our_vip";
        /// Dropped: congestion met on the way cannot be told to endpoints that do not know of it.
        EcnIllegal = 18, "ecn_illegal";
        /// Dropped: a control message, extension fields, or another variant or protocol.
        GueUnknown = 19, "gue_unknown";
        /// Dropped: the inner header is cut short, or contradicts itself or the outer one.
        InnerMalformed = 20, "inner_malformed";
        /// Dropped: the driver left no room before the frame for its VLAN tags.
        NoHeadroom = 21, "no_headroom";
    }
}

/// Kinds of [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// To the kernel, as it came.
    Left,
    /// To the kernel, out of its tunnel.
    Taken,
    /// Thrown away.
    Dropped,
}

impl Outcome {
    /// Where the packet goes.
    #[inline(always)]
    #[must_use]
    pub const fn fate(self) -> Fate {
        match self.index() {
            0..FIRST_TAKEN => Fate::Left,
            FIRST_TAKEN..FIRST_DROP => Fate::Taken,
            _ => Fate::Dropped,
        }
    }
}

const _: () = {
    let mut rest = Outcome::ALL;
    while let [outcome, others @ ..] = rest {
        assert!(outcome.index() < OUTCOMES);
        rest = others;
    }
};
