//! Walks through the remembered flows without end, a few at a time: takes out what is over, and counts
//! the rest by backend.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aya::maps::MapError;
use lb_common::flow::{Flow, FlowKey, Side};
use tokio::time::sleep;

use super::{Flows, Sweeping, idle::is_over, other_side};
use crate::dataplane::clock::{Clock, Reading};

/// Entries that are looked at in a row.
const AT_A_TIME: usize = 256;
/// The rest after them: other tasks have their turn.
const REST: Duration = Duration::from_millis(1);
/// From the end of one walk to the beginning of the next. The shortest time that a flow lasts is a few
/// of these.
const BETWEEN_WALKS: Duration = Duration::from_secs(2);
/// Flows that are taken out after one walk; more wait for the next.
const MOST_OVER: usize = 16_384;

/// Flows of full NAT by the pair of their backend, as of the last walk.
#[derive(Clone, Debug, Default)]
pub struct Usage(Arc<Mutex<HashMap<u32, u32>>>);

impl Usage {
    /// Places that a backend's flows have.
    #[must_use]
    pub fn places(&self, pair: u32) -> u32 {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(&pair).copied().unwrap_or(0)
    }

    fn set(&self, counted: HashMap<u32, u32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }
}

/// Looks after the flows of an instance.
#[derive(Debug)]
pub struct Sweeper {
    flows: Flows,
    time: Reading,
    clock: Clock,
    usage: Usage,
    sweeping: Sweeping,
}

/// What a walk finds.
#[derive(Default)]
struct Found {
    /// Keys of flows that are over.
    over: Vec<FlowKey>,
    /// Flows of full NAT by pair.
    places: HashMap<u32, u32>,
}

/// A flow, found by the entry of one direction.
enum Flowing {
    /// Its only entry, or that of the client's side beside the other one.
    Whole(Vec<Flow>),
    /// The backend's side: the client's tells of it.
    Half,
    /// One direction of two: what is left where the data path, or a daemon, did not come to its end.
    Torn,
}

impl Sweeper {
    /// A sweeper of these flows; `usage` is told what it counts.
    pub(in crate::dataplane) fn new(
        flows: Flows,
        time: Reading,
        usage: Usage,
        sweeping: Sweeping,
    ) -> Self {
        Self {
            flows,
            clock: time.clock(),
            time,
            usage,
            sweeping,
        }
    }

    /// Sweeps until it is dropped, or another map takes the place of this one.
    pub async fn run(mut self) {
        while !self.sweeping.has_ended() {
            if let Err(error) = self.walk().await {
                tracing::debug!(%error, "cannot look through the remembered flows");
            }
            sleep(BETWEEN_WALKS).await;
        }
    }

    async fn walk(&mut self) -> Result<(), MapError> {
        let mut found = Found::default();
        self.clock = self.time.clock();
        for (number, entry) in self.flows.entries().enumerate() {
            let (key, flow) = entry?;
            self.judge(&mut found, key, &flow)?;
            if found.over.len() >= MOST_OVER {
                break;
            }
            if number % AT_A_TIME == AT_A_TIME - 1 {
                sleep(REST).await;
            }
        }
        for (number, key) in found.over.iter().enumerate() {
            let sweeping = self.sweeping.clone();
            sweeping.unless_ended(|| self.take_out(key))?;
            if number % AT_A_TIME == AT_A_TIME - 1 {
                sleep(REST).await;
            }
        }
        self.usage.set(found.places);
        Ok(())
    }

    fn judge(&self, found: &mut Found, key: FlowKey, flow: &Flow) -> Result<(), MapError> {
        match self.flowing(&key, flow)? {
            Flowing::Half => *found.places.entry(flow.pair).or_default() += 1,
            flowing if self.is_over(&key, &flowing) => found.over.push(key),
            Flowing::Whole(_) | Flowing::Torn => {}
        }
        Ok(())
    }

    /// Takes a flow out that was over, if it still is. The client's side goes first: without it the next
    /// packet begins a new flow.
    fn take_out(&mut self, key: &FlowKey) -> Result<(), MapError> {
        let Some(flow) = self.flows.entry(key)? else {
            return Ok(());
        };
        let flowing = self.flowing(key, &flow)?;
        if !self.is_over(key, &flowing) {
            return Ok(());
        }
        self.flows.remove(key)?;
        match flowing {
            Flowing::Whole(entries) if entries.len() > 1 => {
                self.flows.remove(&other_side(key, &flow))
            }
            Flowing::Whole(_) | Flowing::Half | Flowing::Torn => Ok(()),
        }
    }

    fn flowing(&self, key: &FlowKey, flow: &Flow) -> Result<Flowing, MapError> {
        if flow.pool == Flow::NO_POOL {
            return Ok(Flowing::Whole(vec![*flow]));
        }
        let other = self.flows.entry(&other_side(key, flow))?;
        Ok(match other {
            None => Flowing::Torn,
            Some(other) if key.is_of(Side::Client) => Flowing::Whole(vec![*flow, other]),
            Some(_) => Flowing::Half,
        })
    }

    fn is_over(&self, key: &FlowKey, flowing: &Flowing) -> bool {
        match flowing {
            Flowing::Whole(entries) => is_over(key.protocol(), entries, self.clock),
            Flowing::Half => false,
            Flowing::Torn => true,
        }
    }
}
