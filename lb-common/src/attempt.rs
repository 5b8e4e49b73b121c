//! Connections on their way to be opened, as clients' packets show it: what a backend's silence looks like
//! from before it, in every mode, whichever way its answers take.

use crate::bits::{low_half, low_word};

/// An entry of the map `ATTEMPTS`: a connection whose SYN passed, to whom, and when. One word; 0: none.
///
/// The client's next packet with the number that follows its SYN's acknowledges the backend's SYN
/// (RFC 9293, §3.5): the connection is open, and the entry free. A place that another connection has is not
/// fought for: what finds none is not watched, so that under a flood a sample is.
///
/// From the top: 32 bits of flow and sequence number (one of them always set, another one where the SYN came again), 16 of
/// the pair, 16 of the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Attempt(pub u64);

/// Entries of the map: with 128 KiB, those of 100,000 connections a second that take 160 ms to open.
pub const ATTEMPTS: u32 = 16_384;

/// Seconds that a client is waited for: it sends its SYN again 1 and 3 s after the first (RFC 6298).
pub const PATIENCE: u16 = 4;

/// What the packets of a backend's connections show: the counter of this number in
/// [`Signals`](crate::counters::Signals).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Signal {
    /// A connection is to be opened, and watched.
    Tried = 0,
    /// Its SYN came again, for the first time.
    Again = 1,
    /// It is open.
    Opened = 2,
    /// The backend ended one, or refused it (RST).
    Reset = 3,
}

/// A client's packet.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The hash of its flow.
    pub flow: u64,
    /// TCP's sequence number.
    pub sequence: u32,
    /// Whether it opens a connection.
    pub opens: bool,
    /// The pair that gets it.
    pub pair: u32,
    /// The second.
    pub clock: u32,
}

impl Attempt {
    const IS_ONE: u64 = 1 << 63;
    const CAME_AGAIN: u64 = 1 << 62;
    const MARK: u64 = (1 << 62) - (1 << 32);

    /// What a client's packet makes of the entry, and shows; `None` where it shows nothing. A connection that another
    /// backend gets now was that one's before: it is begun anew, and opens for nobody.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, step: Step) -> (Self, Option<Signal>) {
        let first = if step.opens {
            step.sequence
        } else {
            step.sequence.wrapping_sub(1)
        };
        let begun = Self::new(step, first);
        let is_own = self.0 != 0 && (self.0 ^ begun.0) & Self::MARK == 0;
        let is_of_pair = is_own && (self.0 ^ begun.0) & 0xffff_0000 == 0;
        if !step.opens {
            let opened = if is_of_pair {
                Some(Signal::Opened)
            } else {
                None
            };
            return (if is_own { Self(0) } else { self }, opened);
        }
        let age = low_word(step.clock).wrapping_sub(low_word(low_half(self.0)));
        let is_over = self.0 == 0 || age > PATIENCE;
        if is_over || is_own && !is_of_pair {
            (begun, Some(Signal::Tried))
        } else if is_own && self.0 & Self::CAME_AGAIN == 0 {
            (Self(self.0 | Self::CAME_AGAIN), Some(Signal::Again))
        } else {
            (self, None)
        }
    }

    /// Where a flow's entry is: its hash's top bits, which are the best ones.
    #[inline(always)]
    #[must_use]
    pub const fn place(flow: u64) -> u32 {
        low_half(flow >> (u64::BITS - ATTEMPTS.ilog2()))
    }

    /// Of sequence number and the bits of the flow's hash next to those of the place.
    #[inline(always)]
    const fn new(step: Step, first: u32) -> Self {
        let mark = low_half(step.flow >> (u32::BITS - ATTEMPTS.ilog2())) ^ first;
        let pair = (low_word(step.pair) as u64) << 16;
        let clock = low_word(step.clock) as u64;
        Self(Self::IS_ONE | (mark as u64) << 32 & Self::MARK | pair | clock)
    }
}

const _: () = {
    use crate::counters::Signals;
    use core::mem::offset_of;
    assert!(offset_of!(Signals, tried) == 8 * Signal::Tried as usize);
    assert!(offset_of!(Signals, again) == 8 * Signal::Again as usize);
    assert!(offset_of!(Signals, opened) == 8 * Signal::Opened as usize);
    assert!(offset_of!(Signals, resets) == 8 * Signal::Reset as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: u64 = 0x1234_5678_9abc_def0;
    const NONE: Attempt = Attempt(0);

    /// Packets of flow and pair 1 at second 10.
    fn syn(sequence: u32) -> Step {
        Step {
            flow: FLOW,
            sequence,
            opens: true,
            pair: 1,
            clock: 10,
        }
    }

    fn ack(sequence: u32) -> Step {
        Step {
            opens: false,
            ..syn(sequence)
        }
    }

    fn tried() -> Attempt {
        let (attempt, signal) = NONE.after(syn(700));
        assert_eq!(signal, Some(Signal::Tried));
        attempt
    }

    #[test]
    fn the_packet_behind_the_syn_opens_and_frees() {
        assert_eq!(tried().after(ack(701)), (NONE, Some(Signal::Opened)));
        assert_eq!(NONE.after(ack(701)), (NONE, None));
        assert_eq!(tried().after(ack(900)), (tried(), None), "another number");
        let other = Step {
            flow: !FLOW,
            ..ack(701)
        };
        assert_eq!(tried().after(other), (tried(), None), "another flow");
    }

    #[test]
    fn numbers_wrap() {
        let (attempt, _) = NONE.after(syn(u32::MAX));
        assert_eq!(attempt.after(ack(0)), (NONE, Some(Signal::Opened)));
        let late = Step {
            clock: u32::from(u16::MAX),
            ..syn(700)
        };
        let (attempt, _) = NONE.after(late);
        let soon = Step {
            clock: u32::from(u16::MAX) + 2,
            ..syn(700)
        };
        assert_eq!(attempt.after(soon).1, Some(Signal::Again));
    }

    #[test]
    fn a_syn_that_comes_again_counts_once() {
        let later = |clock| Step { clock, ..syn(700) };
        let (attempt, signal) = tried().after(later(11));
        assert_eq!(signal, Some(Signal::Again));
        assert_eq!(attempt.after(later(13)), (attempt, None));
        assert_eq!(attempt.after(ack(701)), (NONE, Some(Signal::Opened)));
        let (_, late) = attempt.after(later(10 + u32::from(PATIENCE) + 1));
        assert_eq!(late, Some(Signal::Tried));
    }

    /// The backend before is silent, and its slots are another one's now: nothing that it left undone is that one's.
    #[test]
    fn what_another_backend_gets_now_is_begun_anew() {
        let other = |step: Step| Step { pair: 2, ..step };
        let (attempt, signal) = tried().after(other(syn(700)));
        assert_eq!(signal, Some(Signal::Tried));
        assert_eq!(attempt.after(other(ack(701))), (NONE, Some(Signal::Opened)));
        assert_eq!(tried().after(other(ack(701))), (NONE, None));
    }

    #[test]
    fn a_place_that_is_taken_is_left_until_its_time_is_over() {
        let other = |clock| Step {
            flow: !FLOW,
            clock,
            ..syn(1)
        };
        let last = 10 + u32::from(PATIENCE);
        assert_eq!(tried().after(other(last)), (tried(), None));
        assert_eq!(tried().after(other(last + 1)).1, Some(Signal::Tried));
    }

    #[test]
    fn every_hash_has_a_place() {
        assert_eq!(Attempt::place(0), 0);
        assert_eq!(Attempt::place(u64::MAX), ATTEMPTS - 1);
    }

    #[test]
    fn an_attempt_is_never_none() {
        let zero = Step {
            flow: 0,
            sequence: 0,
            opens: true,
            pair: 0,
            clock: 0,
        };
        assert_ne!(NONE.after(zero).0, NONE);
    }
}
