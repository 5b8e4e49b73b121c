//! Connections on their way to be opened, as clients' packets show it: what a backend's silence looks like
//! from before it, in every mode, whichever way its answers take.

use crate::bits::low_half;

/// An entry of the map `ATTEMPTS`: a connection whose SYN passed, and when. One word; 0: none.
///
/// The client's next packet with the number that follows its SYN's acknowledges the backend's SYN
/// (RFC 9293, §3.5): the connection is open, and the entry free. A place that another connection has is not
/// fought for: what finds none is not watched, so that under a flood a sample is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Attempt(pub u64);

/// Entries of the map: with 128 KiB, those of 100,000 connections a second that take 160 ms to open.
pub const ATTEMPTS: u32 = 16_384;

/// Seconds that a client is waited for: it sends its SYN again 1 and 3 s after the first (RFC 6298).
pub const PATIENCE: u32 = 4;

/// What the packets of a backend's connections show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A connection is to be opened, and watched.
    Tried,
    /// Its SYN came again.
    Again,
    /// It is open.
    Opened,
    /// The backend ended one, or refused it (RST).
    Reset,
}

impl Attempt {
    /// What a client's packet makes of the entry, and shows; `None` where it has no part in it. `opens`: it is a
    /// SYN.
    #[inline(always)]
    #[must_use]
    pub const fn after(
        self,
        flow: u64,
        sequence: u32,
        opens: bool,
        clock: u32,
    ) -> Option<(Self, Signal)> {
        let first = if opens {
            sequence
        } else {
            sequence.wrapping_sub(1)
        };
        let own = Self::mark(flow, first);
        let is_own = self.0 != 0 && low_half(self.0 >> 32) == own;
        if !opens {
            return if is_own {
                Some((Self(0), Signal::Opened))
            } else {
                None
            };
        }
        let is_over = self.0 == 0 || clock.wrapping_sub(low_half(self.0)) > PATIENCE;
        if is_own && !is_over {
            Some((self, Signal::Again))
        } else if is_over {
            Some((Self((own as u64) << 32 | clock as u64), Signal::Tried))
        } else {
            None
        }
    }

    /// Where a flow's entry is: its hash's top bits, which are the best ones.
    #[inline(always)]
    #[must_use]
    pub const fn place(flow: u64) -> u32 {
        low_half(flow >> (u64::BITS - ATTEMPTS.ilog2()))
    }

    /// Of sequence number and the bits of the flow's hash next to those of the place: never 0, which is none.
    #[inline(always)]
    const fn mark(flow: u64, first: u32) -> u32 {
        (low_half(flow >> (u32::BITS - ATTEMPTS.ilog2())) ^ first) | 1 << 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: u64 = 0x1234_5678_9abc_def0;
    const NONE: Attempt = Attempt(0);

    fn tried() -> Attempt {
        let (attempt, signal) = NONE.after(FLOW, 700, true, 10).unwrap();
        assert_eq!(signal, Signal::Tried);
        attempt
    }

    #[test]
    fn the_packet_behind_the_syn_opens_and_frees() {
        assert_eq!(
            tried().after(FLOW, 701, false, 10),
            Some((NONE, Signal::Opened))
        );
        assert_eq!(NONE.after(FLOW, 701, false, 10), None);
        assert_eq!(tried().after(FLOW, 900, false, 10), None, "another number");
        assert_eq!(tried().after(!FLOW, 701, false, 10), None, "another flow");
    }

    #[test]
    fn numbers_wrap() {
        let (attempt, _) = NONE.after(FLOW, u32::MAX, true, 10).unwrap();
        assert_eq!(
            attempt.after(FLOW, 0, false, 10),
            Some((NONE, Signal::Opened))
        );
    }

    #[test]
    fn a_syn_that_comes_again_is_the_same_attempt() {
        let attempt = tried();
        assert_eq!(
            attempt.after(FLOW, 700, true, 13),
            Some((attempt, Signal::Again))
        );
        let late = attempt.after(FLOW, 700, true, 10 + PATIENCE + 1);
        assert!(matches!(late, Some((_, Signal::Tried))), "{late:?}");
    }

    #[test]
    fn a_place_that_is_taken_is_left_until_its_time_is_over() {
        let attempt = tried();
        assert_eq!(attempt.after(!FLOW, 1, true, 10 + PATIENCE), None);
        let over = attempt.after(!FLOW, 1, true, 10 + PATIENCE + 1);
        assert!(matches!(over, Some((_, Signal::Tried))), "{over:?}");
    }

    #[test]
    fn every_hash_has_a_place() {
        assert_eq!(Attempt::place(0), 0);
        assert_eq!(Attempt::place(u64::MAX), ATTEMPTS - 1);
    }

    #[test]
    fn an_attempt_is_never_none() {
        let (attempt, _) = NONE.after(0, 0, true, 0).unwrap();
        assert_ne!(attempt, NONE);
    }
}
