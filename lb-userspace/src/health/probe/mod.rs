//! One question to one address. The scheduler knows [`Probe`] alone; [`Kinds`] asks in reality.
//!
//! Each kind is a function that ends well or with the [`Outcome`] that says why not; how long it may take is
//! nothing that it knows.

use std::{
    future::Future,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::Outcome;
use crate::{config::model::Check, net::Doorway};

mod accounts;
mod dns;
pub(crate) mod exec;
mod full_size;
mod grpc;
pub(crate) mod http;
mod talk;
pub(crate) mod tcp;
pub(crate) mod tls;

/// A way to ask a backend.
pub trait Probe: Send + Sync + 'static {
    /// Asks, and ends within the time.
    fn probe(&self, asked: &Asked) -> impl Future<Output = Answer> + Send;
}

/// Whom to ask what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asked {
    /// Address and port.
    pub address: SocketAddr,
    /// From where, through the portal, and the bytes of the longest packet that should arrive; `None`: by the host's
    /// own ways.
    pub from: Option<(SocketAddr, u16)>,
    /// What is asked, and what a good answer is.
    pub check: Arc<Check>,
    /// How long it may take.
    pub timeout: Duration,
}

/// What one probe brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// From the question to the answer or to giving up.
    pub latency: Duration,
}

/// Every kind of probe.
#[derive(Debug, Default)]
pub struct Kinds {
    tls: tls::Clients,
    commands: exec::Commands,
    gate: Gate,
    turns: full_size::Turns,
}

/// Where the way through the portal begins, while there is a portal. Cheap to clone: all are one.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Option<Doorway>>>);

impl Gate {
    /// Leads through this doorway from now on, or nowhere.
    pub fn lead(&self, doorway: Option<Doorway>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doorway;
    }

    fn doorway(&self) -> Option<Doorway> {
        let doorway = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        doorway.clone()
    }
}

/// Where a question goes, and how.
#[derive(Debug)]
pub(crate) struct Way {
    to: SocketAddr,
    /// Through the portal, and from which of its addresses and ports.
    through: Option<(Doorway, SocketAddr)>,
}

impl Way {
    /// By the host's own ways.
    pub(crate) const fn to(to: SocketAddr) -> Self {
        Self { to, through: None }
    }
}

impl Probe for Kinds {
    async fn probe(&self, asked: &Asked) -> Answer {
        let begun = Instant::now();
        let mut outcome = within(asked.timeout, self.ask(asked)).await;
        if outcome == Outcome::Ok {
            outcome = self.ask_in_full(asked).await;
        }
        Answer {
            outcome,
            latency: begun.elapsed(),
        }
    }
}

/// What a question ends in, at the latest after this time.
async fn within(time: Duration, question: impl Future<Output = Result<(), Outcome>>) -> Outcome {
    match timeout(time, question).await {
        Ok(Ok(())) => Outcome::Ok,
        Ok(Err(outcome)) => outcome,
        Err(_elapsed) => Outcome::Timeout,
    }
}

impl Kinds {
    /// Those that may lead through a gate.
    #[must_use]
    pub fn through(gate: Gate) -> Self {
        Self {
            gate,
            ..Self::default()
        }
    }

    async fn ask(&self, asked: &Asked) -> Result<(), Outcome> {
        let way = &self.way(asked)?;
        match &*asked.check {
            Check::Tcp(check) => talk::over_tcp(way, check).await,
            Check::Udp(check) => talk::over_udp(way, check).await,
            Check::Http(check) => http::ask(way, check, &self.tls).await,
            Check::Dns(check) => dns::ask(way, check).await,
            Check::Grpc(check) => grpc::ask(way, check, &self.tls).await,
            Check::Exec(check) => self.commands.ask(way.to, check).await,
        }
    }

    /// Asks a path that is good every so often whether it takes packets of full size, as far as it is one of TCP.
    async fn ask_in_full(&self, asked: &Asked) -> Outcome {
        let is_tcp = !matches!(*asked.check, Check::Udp(_) | Check::Dns(_));
        let (Some((from, bytes)), Some(portal), true) = (asked.from, self.gate.doorway(), is_tcp)
        else {
            return Outcome::Ok;
        };
        if !self.turns.is_due(from) {
            return Outcome::Ok;
        }
        let question = full_size::ask(&portal, from, asked.address, bytes);
        match within(asked.timeout, question).await {
            Outcome::Ok => {
                self.turns.arrived(from);
                Outcome::Ok
            }
            Outcome::Timeout => Outcome::FullSizeLost,
            other => other,
        }
    }

    fn way(&self, asked: &Asked) -> Result<Way, Outcome> {
        let doorway = |from| {
            let doorway = self.gate.doorway();
            Ok((doorway.ok_or(Outcome::NotMade(libc::ENETDOWN))?, from))
        };
        Ok(Way {
            to: asked.address,
            through: asked.from.map(|(from, _)| doorway(from)).transpose()?,
        })
    }
}

/// All addresses of the family of another one, any port: where a socket is bound that sends to it.
const fn any(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

#[cfg(test)]
mod tests;
