//! Who is told what happens: webhooks and commands.
//!
//! ```text
//! Chronicle ─► Mailbox (bounded queue) ─► a task for each receiver ─► Courier ─► request or command
//!                 └─ the oldest makes room      └─ back-off with jitter after a failure
//! ```
//!
//! * [`queue`]: what is still to be told, and how long to wait after a failure; pure.
//! * [`mailbox`]: the queue between those to whom something happens, who never wait, and the task that tells.
//! * [`courier`]: one request, or one command.
//!
//! Invariant: a receiver is told of events in their order, one at a time, and of each until that succeeds or the event
//! has lost its place.

mod courier;
mod mailbox;
mod queue;

use std::{
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::{task::JoinSet, time::sleep};

use self::{courier::Courier, mailbox::Mailbox};
use crate::{
    api::types::{EventItem, EventMessage, ReceiverItem, Schema},
    config::model::Receiver,
};

/// All receivers.
#[derive(Debug, Default)]
pub struct Receivers(Mutex<Vec<Running>>);

/// A receiver, and the task that tells it; the task ends when this is dropped.
#[derive(Debug)]
struct Running {
    receiver: Receiver,
    mailbox: Arc<Mailbox>,
    _task: JoinSet<()>,
}

impl Receivers {
    /// Tells an event to each that wants it: it is put into their queues, and nothing is waited for.
    pub fn tell(&self, event: &EventItem) {
        for running in self.lock().iter() {
            if running.receiver.wants(event.word()) {
                running.mailbox.put(event.clone());
            }
        }
    }

    /// Makes these all. One that keeps its name keeps its queue, whatever else changes.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn follow(&self, receivers: &[Receiver], instance: &str) {
        let mut running = self.lock();
        let mut before = std::mem::take(&mut *running);
        let all = receivers.iter().map(|receiver| {
            let place = before
                .iter()
                .position(|it| it.receiver.name == receiver.name);
            match place.map(|place| before.swap_remove(place)) {
                Some(same) if same.receiver == *receiver => same,
                Some(other) => {
                    other.mailbox.set_most(receiver.queue);
                    Running::start(receiver, other.mailbox, instance)
                }
                None => Running::start(receiver, Arc::new(Mailbox::new(receiver)), instance),
            }
        });
        *running = all.collect();
    }

    /// How it goes with each, in the order of the file.
    #[must_use]
    pub fn items(&self) -> Vec<ReceiverItem> {
        let running = self.lock();
        let item = |it: &Running| it.mailbox.item(it.receiver.way.word());
        running.iter().map(item).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn start(receiver: &Receiver, mailbox: Arc<Mailbox>, instance: &str) -> Self {
        let mut task = JoinSet::new();
        let courier = Courier::new(receiver.way.clone(), receiver.timeout);
        task.spawn(tell(Arc::clone(&mailbox), courier, instance.to_owned()));
        Self {
            receiver: receiver.clone(),
            mailbox,
            _task: task,
        }
    }
}

/// Tells a receiver what comes, as long as it is one.
async fn tell(mailbox: Arc<Mailbox>, mut courier: Courier, instance: String) {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    loop {
        let (event, sending) = mailbox.next().await;
        let what = event.word().to_owned();
        let message = EventMessage {
            schema: Schema::V1,
            kind: "Event".to_owned(),
            host: host.to_owned(),
            instance: instance.clone(),
            dropped: sending.dropped,
            event,
        };
        // Numbers and texts alone: nothing in it that JSON could not say.
        let text = serde_json::to_vec(&message).unwrap_or_default();
        match courier.tell(&what, Bytes::from(text)).await {
            Ok(()) => mailbox.sent(sending),
            Err(outcome) => sleep(mailbox.failed(outcome)).await,
        }
    }
}
