//! Signals that end the demonstration: it looks for them wherever it waits, so that the guards of
//! all that it made are dropped.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal as Number;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// How often a wait looks for a signal.
pub(super) const POLL: Duration = Duration::from_millis(5);

/// Remembers the first signal.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(Arc<AtomicI32>);

impl Interrupt {
    /// Takes SIGINT, SIGTERM and SIGHUP from the process.
    pub(super) fn listen() -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot listen for signals")?;
        let signals = {
            let _inside = runtime.enter();
            Signals::listen().context("cannot listen for signals")?
        };
        let seen = Arc::new(AtomicI32::new(0));
        let remembered = Arc::clone(&seen);
        thread::spawn(move || remember(&runtime, signals, &remembered));
        Ok(Self(seen))
    }

    /// Fails after a signal.
    pub(super) fn check(&self) -> Result<()> {
        match Number::try_from(self.0.load(Ordering::Relaxed)) {
            Ok(signal) => bail!("interrupted by {signal}; everything is removed again"),
            Err(_) => Ok(()),
        }
    }

    /// Sleeps, and wakes to fail at a signal.
    pub(super) fn sleep(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(POLL));
        }
    }
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Number {
        tokio::select! {
            _ = self.hangup.recv() => Number::SIGHUP,
            _ = self.interrupt.recv() => Number::SIGINT,
            _ = self.terminate.recv() => Number::SIGTERM,
        }
    }
}

fn remember(runtime: &Runtime, mut signals: Signals, seen: &AtomicI32) {
    let first = runtime.block_on(signals.next());
    seen.store(i32::from(first as u8), Ordering::Relaxed);
}
