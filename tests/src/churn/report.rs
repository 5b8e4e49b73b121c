//! What broke, and by which event.
#![expect(clippy::disallowed_types, reason = "real connections take real time")]

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::Event;
use crate::{flood::Flooded, load::Failure};

/// A question that was asked so long before somebody died has no answer.
const UNDER_WAY: Duration = Duration::from_secs(3);
/// Every connection is asked within this time, and the other balancer has the traffic.
const FOUND_OUT: Duration = Duration::from_secs(10);

/// What an event broke.
#[derive(Debug)]
pub struct Broken {
    /// The event, a place in [`Report::events`]; `None`: broken before the first.
    pub event: Option<usize>,
    /// What broke.
    pub failure: Failure,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// What happened, and when.
    pub events: Vec<(Instant, Event)>,
    /// Connections that were held.
    pub held: usize,
    /// Of these, those that broke though their backend lived.
    pub broken: Vec<Broken>,
    /// Those whose backend died.
    pub died: usize,
    /// New connections that succeeded, and that failed.
    pub fresh: (usize, Vec<Failure>),
    /// Datagrams, and what went wrong with them though their backend lived.
    pub datagrams: (u64, Vec<Broken>),
    /// Datagrams that were lost where that was no decision of a balancer's: on a wire that a flood fills, or on
    /// their way to a balancer that died.
    pub drowned: usize,
    /// The flood, if there was one.
    pub flood: Option<Flooded>,
    /// What became of flows to be tracked, and how many were tracked in the end.
    pub tracking: Tracking,
}

/// What the daemons say of tracked flows, of both balancers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracking {
    /// Flows that were tracked.
    pub tracked: u64,
    /// Those that found no place.
    pub refused: u64,
    /// The most that were at a time on one, of those that were counted.
    pub most: u64,
}

impl Report {
    /// The event before a failure.
    pub(super) fn blame(&self, failure: Failure) -> Broken {
        let mut events = self.events.iter();
        Broken {
            event: events.rposition(|(at, _)| *at <= failure.began),
            failure,
        }
    }

    /// Puts a connection that broke where it belongs.
    pub(super) fn judge(&mut self, failure: Failure) {
        let server = failure.server.as_deref();
        let is_its_server = |event| match event {
            Event::Kill(number) => server == Some(&format!("b{number}")),
            _ => false,
        };
        if self.is_close_to(&failure, is_its_server) {
            self.died += 1;
        } else {
            let broken = self.blame(failure);
            self.broken.push(broken);
        }
    }

    /// The same with a datagram. Nobody sends those again.
    pub(super) fn judge_datagram(&mut self, failure: Failure) {
        let is_death = |event| event == Event::FailOver;
        let is_nobodys = self.flood.is_some() || self.is_close_to(&failure, is_death);
        if failure.is_silence() && is_nobodys {
            self.drowned += 1;
        } else {
            let broken = self.blame(failure);
            self.datagrams.1.push(broken);
        }
    }

    /// Whether an event happened about when something was seen to go wrong.
    fn is_close_to(&self, failure: &Failure, wanted: impl Fn(Event) -> bool) -> bool {
        let mut events = self.events.iter();
        events.any(|(at, event)| {
            wanted(*event) && failure.began + UNDER_WAY > *at && failure.began < *at + FOUND_OUT
        })
    }

    /// Everything that is wrong, each in a line, and the event that it is blamed on.
    pub fn faults(&self) -> impl Iterator<Item = String> {
        let all = self.broken.iter().chain(&self.datagrams.1);
        all.map(|Broken { event, failure }| {
            let event = event.and_then(|place| self.events.get(place));
            let event = event.map_or_else(|| "the beginning".to_owned(), |(_, it)| it.to_string());
            format!("{event}: {failure}")
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let began = self.events.first().map(|(at, _)| *at);
        for (place, (at, event)) in self.events.iter().enumerate() {
            let since = began.map_or(0.0, |began| (*at - began).as_secs_f64());
            let broken = self.broken.iter().filter(|it| it.event == Some(place));
            writeln!(f, "{since:6.1} s  {event:30}  {} broken", broken.count())?;
        }
        let (served, failed) = &self.fresh;
        let (sent, astray) = &self.datagrams;
        writeln!(
            f,
            "{} connections held: {} broken, {} died with their backend",
            self.held,
            self.broken.len(),
            self.died
        )?;
        writeln!(f, "{served} connections opened, {} failed", failed.len())?;
        writeln!(
            f,
            "{sent} datagrams, {} lost or astray, {} drowned",
            astray.len(),
            self.drowned
        )?;
        if let Some(flood) = self.flood {
            writeln!(f, "flood: {flood}")?;
        }
        let Tracking {
            tracked,
            refused,
            most,
        } = self.tracking;
        write!(
            f,
            "{tracked} flows tracked, {most} at a time; {refused} refused"
        )
    }
}
