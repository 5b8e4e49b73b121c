//! What a receiver is still to be told. Pure: no clock, no socket.
//!
//! Invariant: every event that was put in either waits, or was sent, or is counted as dropped; what is sent is in
//! order, and each message says how many were dropped since the one before.

use std::{collections::VecDeque, time::Duration};

use crate::api::types::EventItem;

/// Events that wait, the oldest first, and what became of others.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<EventItem>,
    most: usize,
    /// Events dropped just before the first that waits, which nobody was told of.
    untold: u64,
    /// Attempts in a row that failed.
    failures: u32,
    counts: Counts,
}

/// What became of events and attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
}

/// An event on its way: its number, and the dropped ones that it tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    pub(super) number: u64,
    pub(super) dropped: u64,
}

impl Queue {
    /// An empty one with room for so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            most,
            untold: 0,
            failures: 0,
            counts: Counts::default(),
        }
    }

    /// Room for so many; the oldest go where there are more.
    pub(super) fn set_most(&mut self, most: usize) {
        self.most = most;
        self.make_room(0);
    }

    /// Puts an event in. Whether that was the first that cost another one its place, since all was told.
    pub(super) fn push(&mut self, event: EventItem) -> bool {
        let was_whole = self.untold == 0;
        self.make_room(1);
        self.waiting.push_back(event);
        was_whole && self.untold > 0
    }

    fn make_room(&mut self, wanted: usize) {
        while self.waiting.len() + wanted > self.most && self.waiting.pop_front().is_some() {
            self.untold += 1;
            self.counts.dropped += 1;
        }
    }

    /// What is to be sent next. It stays until it was [`Queue::sent`].
    pub(super) fn first(&self) -> Option<(&EventItem, Sending)> {
        let event = self.waiting.front()?;
        let sending = Sending {
            number: event.number,
            dropped: self.untold,
        };
        Some((event, sending))
    }

    /// It was sent.
    pub(super) fn sent(&mut self, sending: Sending) {
        self.failures = 0;
        self.counts.sent += 1;
        let first = self.waiting.front().map(|event| event.number);
        if first == Some(sending.number) {
            self.waiting.pop_front();
            self.untold = 0;
        } else {
            // It lost its place on its way, and arrived all the same.
            self.untold = self.untold.saturating_sub(sending.dropped + 1);
            self.counts.dropped = self.counts.dropped.saturating_sub(1);
        }
    }

    /// An attempt failed; how many did in a row.
    pub(super) const fn failed(&mut self) -> u32 {
        self.counts.failed += 1;
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Events that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Attempts in a row that failed.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// What became of events and attempts.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }
}

/// From the first failed attempt to the next one, and the longest wait.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(1);

/// How long to wait after so many failures in a row: twice as long each time, of which half or more as `random` says,
/// so that balancers that failed together do not come again together.
pub(super) fn back_off(failures: u32, random: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let part = 0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0;
    doubled.min(LONGEST).mul_f64(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(number: u64) -> EventItem {
        EventItem {
            number,
            ..EventItem::default()
        }
    }

    fn first(queue: &Queue) -> Option<(u64, u64)> {
        let (_, sending) = queue.first()?;
        Some((sending.number, sending.dropped))
    }

    #[test]
    fn what_failed_comes_again_and_the_oldest_make_room() {
        let mut queue = Queue::new(2);
        assert_eq!(first(&queue), None);
        assert!(!queue.push(event(1)) && !queue.push(event(2)));
        assert_eq!([queue.failed(), queue.failed()], [1, 2]);
        assert_eq!(first(&queue), Some((1, 0)));
        assert!(queue.push(event(3)), "the first that is dropped");
        assert!(!queue.push(event(4)), "said before");
        assert_eq!(first(&queue), Some((3, 2)));
        let (_, sending) = queue.first().unwrap();
        queue.sent(sending);
        assert_eq!((first(&queue), queue.failures()), (Some((4, 0)), 0));
        let expected = Counts {
            sent: 1,
            failed: 2,
            dropped: 2,
        };
        assert_eq!(queue.counts(), expected);
    }

    #[test]
    fn a_queue_that_gets_shorter_drops_the_oldest() {
        let mut queue = Queue::new(5);
        for number in 1..=5 {
            queue.push(event(number));
        }
        queue.set_most(2);
        assert_eq!((first(&queue), queue.len()), (Some((4, 3)), 2));
    }

    #[test]
    fn waits_double_up_to_a_minute_and_vary() {
        let most: Vec<_> = (1..=10)
            .map(|failures| back_off(failures, u32::MAX).as_millis())
            .collect();
        assert_eq!(
            most,
            [
                500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000
            ]
        );
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push,
        Begin,
        Arrive,
        Fail,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Push),
            2 => Just(Step::Begin),
            2 => Just(Step::Arrive),
            1 => Just(Step::Fail),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Whatever happens between the beginning of an attempt and its end.
        #[test]
        fn every_event_arrives_once_or_is_told_to_be_dropped(most in 1_usize..6, steps in steps()) {
            let mut queue = Queue::new(most);
            let (mut pushed, mut heard, mut on_its_way) = (0, Vec::new(), None);
            for step in steps {
                match step {
                    Step::Push => {
                        pushed += 1;
                        queue.push(event(pushed));
                    }
                    Step::Begin => on_its_way = queue.first().map(|(_, sending)| sending),
                    Step::Arrive => if let Some(sending) = on_its_way.take() {
                        queue.sent(sending);
                        heard.push(sending);
                    },
                    Step::Fail => if on_its_way.take().is_some() {
                        queue.failed();
                    },
                }
                prop_assert!(queue.len() <= most);
                let counts = queue.counts();
                let waiting = u64::try_from(queue.len()).unwrap();
                prop_assert_eq!(counts.sent + counts.dropped + waiting, pushed);
            }
            // Numbers and dropped ones leave no gap.
            let mut expected = 1;
            for sending in &heard {
                prop_assert_eq!(sending.number, expected + sending.dropped);
                expected = sending.number + 1;
            }
            if let Some((_, next)) = queue.first() {
                prop_assert_eq!(next.number, expected + next.dropped);
            }
        }

        #[test]
        fn a_wait_is_half_of_the_longest_or_more(failures: u32, random: u32) {
            let (most, wait) = (back_off(failures, u32::MAX), back_off(failures, random));
            prop_assert!(wait >= most / 2 && wait <= most && most <= LONGEST);
        }
    }
}
