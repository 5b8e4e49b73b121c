//! New connections all the time.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{super::interrupt::Interrupt, Client, ask_tcp, burst::Tally};

/// Connections a second, less where the machine is busy.
pub(in super::super) const PER_SECOND: u32 = 1000;

/// From one handful of connections to the next.
const TICK: Duration = Duration::from_millis(5);

/// Connections of a handful.
const PER_TICK: u32 = PER_SECOND / 200;

/// Connections that may be on their way.
const AT_A_TIME: usize = 500;

/// What became of a connection.
#[derive(Debug)]
pub(in super::super) struct Attempt {
    /// When it was begun.
    pub(in super::super) began: Instant,
    /// When its end was known.
    pub(in super::super) ended: Instant,
    /// Who answered.
    pub(in super::super) answer: io::Result<String>,
}

/// Connections that are being made until [`Self::finish`], or until it is dropped.
#[derive(Debug)]
pub(in super::super) struct Steady {
    attempts: Arc<Mutex<Vec<Attempt>>>,
    stop: Arc<AtomicBool>,
    driver: Option<JoinHandle<()>>,
}

impl Steady {
    /// Starts making connections.
    pub(in super::super) fn start(client: &Client, to: SocketAddr) -> Self {
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let driver = drive(to, Arc::clone(&stop), Arc::clone(&attempts));
        Self {
            attempts,
            stop,
            driver: Some(client.handle.spawn(driver)),
        }
    }

    /// Makes no more, and waits for those that are on their way.
    pub(in super::super) fn finish(
        mut self,
        client: &Client,
        interrupt: &Interrupt,
    ) -> Result<Journal> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(driver) = self.driver.take() {
            client.run(interrupt, driver)??;
        }
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Journal(std::mem::take(&mut *attempts)))
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

async fn drive(to: SocketAddr, stop: Arc<AtomicBool>, attempts: Arc<Mutex<Vec<Attempt>>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = JoinSet::new();
    let note = |attempt: Attempt| {
        let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.push(attempt);
    };
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        for _ in 0..PER_TICK {
            if open.len() < AT_A_TIME {
                open.spawn(attempt(to));
            }
        }
        while let Some(ended) = open.try_join_next() {
            ended.into_iter().for_each(note);
        }
    }
    while let Some(ended) = open.join_next().await {
        ended.into_iter().for_each(note);
    }
}

async fn attempt(to: SocketAddr) -> Attempt {
    let began = Instant::now();
    let answer = ask_tcp(to).await;
    Attempt {
        began,
        ended: Instant::now(),
        answer,
    }
}

/// All connections that were made.
#[derive(Debug)]
pub(in super::super) struct Journal(Vec<Attempt>);

impl Journal {
    /// Those that were begun at `since` or later.
    pub(in super::super) fn since(&self, since: Instant) -> impl Iterator<Item = &Attempt> {
        self.0.iter().filter(move |attempt| attempt.began >= since)
    }

    /// How many there were.
    pub(in super::super) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Those that failed.
    pub(in super::super) fn failed(&self) -> impl Iterator<Item = &Attempt> {
        self.0.iter().filter(|attempt| attempt.answer.is_err())
    }

    /// Why, of the first, after a colon; nothing where none did.
    pub(in super::super) fn reason(&self) -> String {
        let mut errors = self.0.iter().filter_map(|it| it.answer.as_ref().err());
        errors
            .next()
            .map_or_else(String::new, |error| format!(": {error}"))
    }

    /// When the last one failed.
    pub(in super::super) fn last_failure(&self) -> Option<Instant> {
        self.failed().map(|attempt| attempt.ended).max()
    }

    /// Who answered those that were begun at `since` or later.
    pub(in super::super) fn tally(&self, since: Instant) -> Tally {
        self.since(since)
            .filter_map(|attempt| attempt.answer.as_deref().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(began: Instant, millis: u64, answer: io::Result<&str>) -> Attempt {
        Attempt {
            began,
            ended: began + Duration::from_millis(millis),
            answer: answer.map(str::to_owned),
        }
    }

    #[test]
    fn the_last_failure_is_the_one_that_ended_last() {
        let start = Instant::now();
        let refused = || Err(io::ErrorKind::ConnectionRefused.into());
        let journal = Journal(vec![
            attempt(start, 900, refused()),
            attempt(start + Duration::from_millis(100), 1, refused()),
            attempt(start + Duration::from_secs(2), 1, Ok("b1")),
        ]);
        assert_eq!(journal.failed().count(), 2);
        assert_eq!(
            journal.last_failure(),
            Some(start + Duration::from_millis(900))
        );
        let later = journal.tally(start + Duration::from_millis(50));
        assert_eq!(later, ["b1"].into_iter().collect());
    }
}
