//! Who is asked when. One task per question sleeps, asks and records; a semaphore bounds how many ask
//! at a time.
//!
//! Services that probe the same address and port in the same way share one question: a backend of
//! ten services is asked once, and each service judges the answer by its own `rise` and `fall`.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{
        Notify, Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    machine::Pace,
    probe::{Answer, Kinds, Probe},
    registry::{Event, Last, Question, Registry, Report, ServiceHealth, Target},
    schedule::Schedule,
};

/// Probes at a time for a process that may have so many descriptors: half of them, and no more than would ever be
/// wanted. Those that hang must not keep others waiting: ten thousand each second, half a second each, are five
/// thousand at a time.
#[must_use]
pub fn concurrency(descriptors: u64) -> usize {
    const MOST: u64 = 16_384;
    usize::try_from((descriptors / 2).min(MOST)).unwrap_or(usize::MAX)
}

/// Probes a set of targets that may change at any time. Dropped, it stops.
#[derive(Debug)]
pub struct Prober<P: Probe = Kinds> {
    shared: Arc<Shared<P>>,
    running: HashMap<Question, Running>,
}

impl<P: Probe> Prober<P> {
    /// A prober without targets that makes at most `concurrency` probes at a time.
    ///
    /// Each end of a probe is one [`Event`] for each service that asked. `ended` gets all of them, where they happen; the
    /// channel those that change anything: a state, whether one is held, whether this host is suspected. It has no
    /// bound, so that a slow reader loses none.
    #[must_use]
    pub fn new(
        probe: P,
        concurrency: usize,
        ended: impl Fn(&Event) + Send + Sync + 'static,
    ) -> (Self, UnboundedReceiver<Event>) {
        let (events, receiver) = unbounded_channel();
        let shared = Shared {
            probe,
            permits: Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            seed: RandomState::new().hash_one(()),
            registry: Arc::default(),
            ended: Box::new(ended),
            events,
        };
        let prober = Self {
            shared: Arc::new(shared),
            running: HashMap::new(),
        };
        (prober, receiver)
    }

    /// Makes `targets` the whole set: new ones are probed within a quarter of a second, absent ones
    /// are forgotten, those that stay keep their state and streak even if their probe is another.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn set_targets(&mut self, targets: Vec<Target>) {
        let mut registry = lock(&self.shared.registry);
        let changes = registry.set_targets(targets, Instant::now());
        self.shared.send(&changes.events, Event::is_news);
        drop(registry);
        for event in &changes.events {
            (self.shared.ended)(event);
        }
        for question in &changes.stopped {
            self.running.remove(question);
        }
        for question in changes.started {
            let hurry = Arc::new(Notify::new());
            let asking = ask(
                Arc::clone(&self.shared),
                question.clone(),
                Arc::clone(&hurry),
            );
            let task = tokio::spawn(asking);
            self.running.insert(question, Running { task, hurry });
        }
    }

    /// Probes a target now, or once more as soon as the probe has ended that is under way.
    pub fn ask_at_once(&self, service: &str, backend: SocketAddr) {
        let question = lock(&self.shared.registry).question(service, backend);
        if let Some(running) = question.and_then(|question| self.running.get(&question)) {
            running.hurry.notify_one();
        }
    }

    /// These hosts are behind a link of this host's that is down, and no others: their silence takes nobody out.
    pub fn set_cut_off(&self, hosts: HashSet<IpAddr>) {
        lock(&self.shared.registry).set_cut_off(hosts);
    }

    /// The state of all targets, for status; lives on its own.
    #[must_use]
    pub fn reports(&self) -> Reports {
        Reports(Arc::clone(&self.shared.registry))
    }
}

/// A view of the state of all targets, cheap to clone.
#[derive(Clone, Debug)]
pub struct Reports(Arc<Mutex<Registry>>);

impl Reports {
    /// All targets, by service and address.
    #[must_use]
    pub fn all(&self) -> Vec<Report> {
        lock(&self.0).reports()
    }

    /// Whether this host is likelier at fault than those that are silent: nobody silent is taken out.
    #[must_use]
    pub fn suspects_the_own_path(&self) -> bool {
        lock(&self.0).suspects_the_own_path()
    }

    /// The states of all that are probed of a service.
    #[must_use]
    pub fn health(&self, service: &str) -> ServiceHealth {
        lock(&self.0).health(service)
    }

    /// One target; `None` if it is not probed.
    #[must_use]
    pub fn of(&self, service: &str, backend: SocketAddr) -> Option<Report> {
        lock(&self.0).report(service, backend)
    }

    /// The last probes of a target, the very last one first.
    #[must_use]
    pub fn probes(&self, service: &str, backend: SocketAddr) -> Vec<Last> {
        lock(&self.0).probes(service, backend)
    }
}

struct Shared<P> {
    probe: P,
    permits: Semaphore,
    seed: u64,
    registry: Arc<Mutex<Registry>>,
    ended: Box<dyn Fn(&Event) + Send + Sync>,
    events: UnboundedSender<Event>,
}

impl<P> fmt::Debug for Shared<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl<P> Shared<P> {
    /// Sends under the lock, so that events leave in the order in which states changed; how urgent the next answer is.
    fn record(&self, question: &Question, answer: Answer, late: Duration) -> Pace {
        let mut registry = lock(&self.registry);
        let suspected = registry.suspects_the_own_path();
        let (mut events, pace) = registry.record(question, answer, Instant::now());
        let turns = suspected != registry.suspects_the_own_path();
        self.send(&events, |event| turns || event.is_news());
        drop(registry);
        for event in &mut events {
            event.late = late;
            (self.ended)(event);
        }
        pace
    }

    /// Sends those that are wanted: whoever gets them has something to do then.
    fn send(&self, events: &[Event], is_wanted: impl Fn(&Event) -> bool) {
        for event in events.iter().filter(|event| is_wanted(event)) {
            if self.events.send(event.clone()).is_err() {
                // Nobody listens; whoever wants to know reads the reports.
                return;
            }
        }
    }
}

/// A task that ends with its handle.
#[derive(Debug)]
struct Running {
    task: JoinHandle<()>,
    /// Told where it is to ask at once.
    hurry: Arc<Notify>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask<P: Probe>(shared: Arc<Shared<P>>, question: Question, hurry: Arc<Notify>) {
    let mut schedule = Schedule::new(&question, shared.seed);
    let mut due = Instant::now() + schedule.first();
    loop {
        tokio::select! {
            () = sleep_until(due) => {}
            () = hurry.notified() => due = Instant::now(),
        }
        let Ok(permit) = shared.permits.acquire().await else {
            return;
        };
        let begun = Instant::now();
        // What that takes is made for the time that it takes: there is a task for each question, and most sleep.
        let answer = Box::pin(shared.probe.probe(&question.asked)).await;
        drop(permit);
        let pace = shared.record(&question, answer, begun.duration_since(due));
        // One that took longer than its wait does not make the next one late.
        due = Instant::now().max(begun + schedule.next(pace));
    }
}

/// No code panics under this lock, and a registry is consistent between any two statements of its own.
fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
