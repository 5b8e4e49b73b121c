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

    #[test]
    fn what_is_seen_tells_the_cause() {
        let seen = |mode, reach, outcome, refused| {
            Seen {
                mode,
                reach,
                outcome,
                refused,
            }
            .cause()
        };
        let (near, far, nobody) = (Reach::Neighbour, Reach::Router, Reach::Nobody);
        for (mode, reach, outcome, refused, cause) in [
            (Mode::Nat, near, Outcome::Timeout, false, Cause::NoWayBack),
            (
                Mode::Nat,
                nobody,
                Outcome::Timeout,
                false,
                Cause::NoNeighbour,
            ),
            (
                Mode::FullNat,
                far,
                Outcome::Timeout,
                false,
                Cause::NoWayBack,
            ),
            (
                Mode::L2Dsr,
                near,
                Outcome::Timeout,
                false,
                Cause::VipMissing,
            ),
            (Mode::L2Dsr, far, Outcome::Timeout, false, Cause::NotOnLink),
            (
                Mode::L2Dsr,
                near,
                Outcome::Refused,
                false,
                Cause::NotListening,
            ),
            (Mode::Ipip, far, Outcome::Timeout, false, Cause::VipMissing),
            (
                Mode::Ipip,
                far,
                Outcome::Timeout,
                true,
                Cause::NoDecapsulation,
            ),
            (Mode::Gue, near, Outcome::FullSizeLost, false, Cause::Mtu),
            (
                Mode::Gue,
                near,
                Outcome::Status(503),
                false,
                Cause::OtherAnswer,
            ),
        ] {
            assert_eq!(
                seen(mode, reach, outcome, refused),
                Some(cause),
                "{mode:?} {outcome}"
            );
        }
        assert_eq!(seen(Mode::Nat, nobody, Outcome::Ok, false), None);
        assert_eq!(
            seen(Mode::Nat, nobody, Outcome::NotMade(libc::EMFILE), false),
            None
        );
    }
}
