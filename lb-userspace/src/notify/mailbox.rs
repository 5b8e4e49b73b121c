//! A receiver's queue, filled by those to whom something happens and emptied by the task that tells.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;
use tracing::{info, warn};

use super::queue::{Queue, Sending, back_off};
use crate::{
    api::types::{EventItem, ReceiverItem},
    config::model::Receiver,
    health::Outcome,
};

/// The queue, and how telling went.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Whose it is.
    name: String,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    last_sent_ms: Option<u64>,
    last_failure: Option<(u64, Outcome)>,
}

impl Mailbox {
    pub(super) fn new(receiver: &Receiver) -> Self {
        Self {
            name: receiver.name.clone(),
            state: Mutex::new(State {
                queue: Queue::new(receiver.queue),
                last_sent_ms: None,
                last_failure: None,
            }),
            filled: Notify::new(),
        }
    }

    /// Room for so many.
    pub(super) fn set_most(&self, most: usize) {
        self.lock().queue.set_most(most);
    }

    /// Puts an event in, and waits for nothing.
    pub(super) fn put(&self, event: EventItem) {
        if self.lock().queue.push(event) {
            let receiver = &self.name;
            warn!(%receiver, "events are dropped: a receiver of notifications does not follow");
        }
        self.filled.notify_one();
    }

    /// What is to be sent next, as soon as there is something.
    pub(super) async fn next(&self) -> (EventItem, Sending) {
        loop {
            if let Some((event, sending)) = self.lock().queue.first() {
                return (event.clone(), sending);
            }
            self.filled.notified().await;
        }
    }

    /// It was sent.
    pub(super) fn sent(&self, sending: Sending) {
        let mut state = self.lock();
        let receiver = &self.name;
        if state.queue.failures() > 0 {
            info!(%receiver, "a receiver of notifications is told again");
        }
        state.queue.sent(sending);
        state.last_sent_ms = Some(now_ms());
    }

    /// An attempt failed; how long to wait until the next.
    pub(super) fn failed(&self, outcome: Outcome) -> Duration {
        let mut state = self.lock();
        state.last_failure = Some((now_ms(), outcome));
        let failures = state.queue.failed();
        if failures == 1 {
            let receiver = &self.name;
            warn!(%receiver, %outcome, "cannot tell a receiver of notifications: tried again and again");
        }
        let random = RandomState::new().hash_one(failures) >> 32;
        back_off(failures, u32::try_from(random).unwrap_or(u32::MAX))
    }

    /// What there is to see.
    pub(super) fn item(&self, way: &str) -> ReceiverItem {
        let state = self.lock();
        let counts = state.queue.counts();
        ReceiverItem {
            name: self.name.clone(),
            way: way.to_owned(),
            waiting: u64::try_from(state.queue.len()).unwrap_or(u64::MAX),
            sent: counts.sent,
            failed: counts.failed,
            dropped: counts.dropped,
            failures: state.queue.failures(),
            last_sent_ms: state.last_sent_ms,
            last_failure_ms: state.last_failure.map(|(at, _)| at),
            last_failure: state.last_failure.map(|(_, outcome)| outcome.to_string()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}
