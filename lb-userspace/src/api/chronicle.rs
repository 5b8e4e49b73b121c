//! What happened, the latest of it, for whoever asks and whoever waits.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::watch, time::timeout};

use super::types::EventItem;
use crate::notify::Receivers;

/// Events that are kept.
const KEPT: usize = 4096;

/// The latest events. The oldest make room.
#[derive(Debug)]
pub struct Chronicle {
    events: Mutex<VecDeque<EventItem>>,
    /// The number of the last one.
    last: watch::Sender<u64>,
    receivers: Receivers,
}

impl Default for Chronicle {
    fn default() -> Self {
        Self {
            events: Mutex::default(),
            last: watch::Sender::new(0),
            receivers: Receivers::default(),
        }
    }
}

impl Chronicle {
    /// Takes one down, with number and time, and tells it to receivers, in the order of the numbers.
    pub fn record(&self, event: EventItem) {
        debug_assert!(
            EventItem::WORDS.contains(&event.word()),
            "{event:?} is not among the words"
        );
        let mut events = self.lock();
        let number = *self.last.borrow() + 1;
        if events.len() == KEPT {
            events.pop_front();
        }
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let at_ms = since_1970.map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        });
        let event = EventItem {
            number,
            at_ms,
            ..event
        };
        self.receivers.tell(&event);
        events.push_back(event);
        self.last.send_replace(number);
    }

    /// Who is told of events.
    pub const fn receivers(&self) -> &Receivers {
        &self.receivers
    }

    /// Those after a number, the oldest first.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<EventItem> {
        let events = self.lock();
        events
            .iter()
            .filter(|event| event.number > number)
            .cloned()
            .collect()
    }

    /// The same; where there is none yet, waits for one, for some time.
    pub async fn wait_after(&self, number: u64, patience: Duration) -> Vec<EventItem> {
        let mut last = self.last.subscribe();
        // Nothing, where nothing happened.
        drop(timeout(patience, last.wait_for(|last| *last > number)).await);
        self.after(number)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<EventItem>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn event(what: &str) -> EventItem {
        EventItem {
            what: what.to_owned(),
            ..EventItem::default()
        }
    }

    #[test]
    fn the_latest_are_kept_under_their_numbers() {
        let chronicle = Chronicle::default();
        for number in 0..KEPT + 10 {
            chronicle.record(EventItem {
                cause: number.to_string(),
                ..event("up")
            });
        }
        let all = chronicle.after(0);
        assert_eq!((all.len(), all[0].number), (KEPT, 11));
        let last = chronicle.after(all[KEPT - 2].number);
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].cause, (KEPT + 9).to_string());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told() {
        let chronicle = Arc::new(Chronicle::default());
        let patience = Duration::from_secs(30);
        assert!(chronicle.wait_after(0, patience).await.is_empty());
        let waiting = tokio::spawn({
            let chronicle = Arc::clone(&chronicle);
            async move { chronicle.wait_after(0, patience).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        chronicle.record(event("down"));
        assert_eq!(waiting.await.unwrap()[0].what, "down");
    }
}
