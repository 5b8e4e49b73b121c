//! So many flows, as fast as it goes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, bail};
use tokio::task::JoinSet;

use super::{super::screen::print, ask_tcp, ask_udp, runtime};

/// Flows at a time. More would fill the queues of the virtual wires.
const AT_A_TIME: u32 = 32;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Order {
    /// Whom to ask.
    pub(in super::super) address: SocketAddr,
    /// Flows.
    pub(in super::super) count: u32,
    /// One datagram a flow, not one TCP connection.
    pub(in super::super) udp: bool,
}

/// Who answered how many flows, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Tally(pub(in super::super) BTreeMap<String, u32>);

impl Tally {
    /// All flows that were answered.
    pub(in super::super) fn total(&self) -> u32 {
        self.0.values().sum()
    }

    /// Part of the flows that this backend answered, 0 to 1.
    pub(in super::super) fn share(&self, name: &str) -> f64 {
        let count = self.0.get(name).copied().unwrap_or_default();
        f64::from(count) / f64::from(self.total().max(1))
    }

    /// Reads what [`run`] has printed.
    pub(in super::super) fn parse(text: &str) -> Result<Self> {
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let name = words.next().context("no name")?;
            let count = words.next().context("no count")?.parse()?;
            Ok((name.to_owned(), count))
        };
        text.lines().map(line).collect::<Result<_>>().map(Self)
    }

    fn lines(&self) -> String {
        let line = |(name, count): (&String, &u32)| format!("{name} {count}\n");
        self.0.iter().map(line).collect()
    }
}

impl<S: Into<String>> FromIterator<S> for Tally {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut counts = BTreeMap::new();
        for name in names {
            *counts.entry(name.into()).or_default() += 1;
        }
        Self(counts)
    }
}

/// Opens the flows and prints a line for each who answered: name and count.
///
/// # Errors
/// If a flow is not answered.
pub(in super::super) fn run(order: Order) -> Result<()> {
    let Outcome { names, failures } = runtime()?.block_on(burst(order));
    let tally: Tally = names.into_iter().collect();
    print(&tally.lines())?;
    match failures.as_slice() {
        [] => Ok(()),
        [first, ..] => bail!(
            "{} of {} flows failed, the first one: {first}",
            failures.len(),
            order.count
        ),
    }
}

#[derive(Default)]
struct Outcome {
    names: Vec<String>,
    failures: Vec<std::io::Error>,
}

async fn burst(order: Order) -> Outcome {
    let left = Arc::new(AtomicU32::new(order.count));
    let workers: JoinSet<_> = (0..AT_A_TIME)
        .map(|_| work(order, Arc::clone(&left)))
        .collect();
    let mut all = Outcome::default();
    for Outcome { names, failures } in workers.join_all().await {
        all.names.extend(names);
        all.failures.extend(failures);
    }
    all
}

async fn work(order: Order, left: Arc<AtomicU32>) -> Outcome {
    let mut outcome = Outcome::default();
    let take = || left.try_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    while take().is_ok() {
        let answer = if order.udp {
            ask_udp(order.address).await
        } else {
            ask_tcp(order.address).await
        };
        match answer {
            Ok(name) => outcome.names.push(name),
            Err(error) => {
                // One is enough to know, and each takes long where nobody answers.
                left.store(0, Ordering::Relaxed);
                outcome.failures.push(error);
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read() {
        let tally: Tally = ["b1", "b2", "b1", "b3"].into_iter().collect();
        assert_eq!(tally.lines(), "b1 2\nb2 1\nb3 1\n");
        assert_eq!(Tally::parse(&tally.lines()).unwrap(), tally);
        assert!(Tally::parse("b1 many").is_err());
    }

    #[test]
    fn shares_are_parts_of_what_was_answered() {
        let tally: Tally = ["b1", "b2", "b1", "b3"].into_iter().collect();
        assert!((tally.share("b1") - 0.5).abs() < 1e-9);
        assert!(tally.share("b4").abs() < 1e-9);
        assert!(Tally::default().share("b1").abs() < 1e-9);
    }
}
