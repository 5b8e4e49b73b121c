//! Why a way by the VIP fails although the backend answers at its own address: the likeliest cause, by what is seen.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Outcome, outcome::Verdict};
use crate::config::model::Mode;

/// What is likely wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nobody answers ARP or neighbour discovery for the next hop.
    NoNeighbour,
    /// Direct return, and the backend is not a neighbour.
    NotOnLink,
    /// The backend refuses the tunnel's packets.
    NoDecapsulation,
    /// Packets for the VIP are not taken there, or nothing comes back of them.
    VipMissing,
    /// What the backend answers does not come back through this host.
    NoWayBack,
    /// They are taken, and nobody listens there.
    NotListening,
    /// Short packets arrive, and full-sized ones do not.
    Mtu,
    /// It answers otherwise than at its own address.
    OtherAnswer,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNeighbour => {
                "no neighbour: its next hop does not answer ARP or neighbour discovery"
            }
            Self::NotOnLink => "not on the link: direct return reaches neighbours only",
            Self::NoDecapsulation => "no decapsulation: the backend refuses packets of the tunnel",
            Self::VipMissing => "VIP missing on the backend, or what it answers is lost",
            Self::NoWayBack => "no way back: what it answers does not come through this host",
            Self::NotListening => "nobody listens at the VIP there",
            Self::Mtu => "MTU: full-sized packets are lost on the way",
            Self::OtherAnswer => "it answers otherwise than at its own address",
        })
    }
}

/// How far packets for a backend get by what this host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the neighbour.
    Neighbour,
    /// To a neighbour that is no backend.
    Router,
    /// Nowhere.
    Nobody,
}

/// What is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How packets reach the backend.
    pub mode: Mode,
    /// How far they get.
    pub reach: Reach,
    /// How the probe ended.
    pub outcome: Outcome,
    /// Whether a tunnel's end said meanwhile that it takes no packets.
    pub refused: bool,
}

impl Seen {
    /// The likeliest cause; `None` where nothing is wrong.
    #[must_use]
    pub fn cause(self) -> Option<Cause> {
        if self.outcome.verdict() != Verdict::Failed {
            return None;
        }
        Some(match (self.outcome, self.mode, self.reach) {
            (_, _, Reach::Nobody) => Cause::NoNeighbour,
            (_, Mode::L2Dsr, Reach::Router) => Cause::NotOnLink,
            (Outcome::FullSizeLost, ..) => Cause::Mtu,
            (Outcome::Refused, ..) => Cause::NotListening,
            (outcome, ..) if !outcome.is_silence() => Cause::OtherAnswer,
            (_, Mode::Nat | Mode::FullNat, _) => Cause::NoWayBack,
            (_, Mode::Ipip | Mode::Gue, _) if self.refused => Cause::NoDecapsulation,
            (_, Mode::L2Dsr | Mode::Ipip | Mode::Gue, _) => Cause::VipMissing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(mode: Mode, reach: Reach, outcome: Outcome, refused: bool) -> Option<Cause> {
        let seen = Seen {
            mode,
            reach,
            outcome,
            refused,
        };
        seen.cause()
    }

    #[test]
    fn silence_is_told_by_mode_and_reach() {
        let (near, far, nobody) = (Reach::Neighbour, Reach::Router, Reach::Nobody);
        for (mode, reach, refused, expected) in [
            (Mode::Nat, near, false, Cause::NoWayBack),
            (Mode::Nat, nobody, false, Cause::NoNeighbour),
            (Mode::FullNat, far, false, Cause::NoWayBack),
            (Mode::L2Dsr, near, false, Cause::VipMissing),
            (Mode::L2Dsr, far, false, Cause::NotOnLink),
            (Mode::Ipip, far, false, Cause::VipMissing),
            (Mode::Ipip, far, true, Cause::NoDecapsulation),
        ] {
            let found = cause(mode, reach, Outcome::Timeout, refused);
            assert_eq!(found, Some(expected), "{mode:?} {reach:?}");
        }
    }

    #[test]
    fn an_answer_tells_the_cause() {
        let cause = |mode, outcome| cause(mode, Reach::Neighbour, outcome, false);
        let lost = cause(Mode::Gue, Outcome::FullSizeLost);
        assert_eq!(lost, Some(Cause::Mtu));
        let refused = cause(Mode::L2Dsr, Outcome::Refused);
        assert_eq!(refused, Some(Cause::NotListening));
        let other = cause(Mode::Gue, Outcome::Status(503));
        assert_eq!(other, Some(Cause::OtherAnswer));
        assert_eq!(cause(Mode::Nat, Outcome::Ok), None);
        assert_eq!(cause(Mode::Nat, Outcome::NotMade(libc::EMFILE)), None);
    }
}
