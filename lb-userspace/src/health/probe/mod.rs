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

use tokio::{
    join,
    time::{Instant, timeout, timeout_at},
};

use super::{Outcome, feedback::Advice};
use crate::{
    config::model::{Adviser, Check},
    net::Doorway,
};

mod accounts;
mod agent;
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
    /// Where it says how much it is good for.
    pub adviser: Option<Adviser>,
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
    /// What the backend says it is good for, if it was asked and answered.
    pub advice: Option<Advice>,
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
        let until = begun + asked.timeout;
        let check = async {
            let answer = self.ask_within(asked).await;
            (answer, begun.elapsed())
        };
        // Beside it: that the agent hangs says nothing of the backend.
        let (((outcome, header), latency), agent) = join!(check, ask_agent(asked, until));
        Answer {
            outcome,
            latency,
            advice: agent.or(header),
        }
    }
}

/// What a question ends in, at the latest after this time.
async fn within<T>(
    time: Duration,
    question: impl Future<Output = Result<T, Outcome>>,
) -> Result<T, Outcome> {
    timeout(time, question)
        .await
        .unwrap_or(Err(Outcome::Timeout))
}

/// What the agent says, where there is one.
async fn ask_agent(asked: &Asked, until: Instant) -> Option<Advice> {
    let Some(Adviser::Agent(port)) = asked.adviser else {
        return None;
    };
    let agent = SocketAddr::new(asked.address.ip(), port);
    let answer = timeout_at(until, Box::pin(agent::ask(agent))).await;
    Some(answer.unwrap_or(Advice::Invalid))
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

    /// How a probe ended, and what came with a good answer.
    async fn ask_within(&self, asked: &Asked) -> (Outcome, Option<Advice>) {
        match within(asked.timeout, self.ask(asked)).await {
            Ok(advice) => (self.ask_in_full(asked).await, advice),
            Err(outcome) => (outcome, None),
        }
    }

    /// What comes with a good answer. What takes much more room than a connection has room of its own.
    async fn ask(&self, asked: &Asked) -> Result<Option<Advice>, Outcome> {
        let way = &self.way(asked)?;
        let answer = match &*asked.check {
            Check::Http(check) => {
                let adviser = asked.adviser.as_ref();
                return Box::pin(http::ask(way, check, adviser, &self.tls)).await;
            }
            Check::Tcp(check) => talk::over_tcp(way, check).await,
            Check::Udp(check) => Box::pin(talk::over_udp(way, check)).await,
            Check::Dns(check) => Box::pin(dns::ask(way, check)).await,
            Check::Grpc(check) => Box::pin(grpc::ask(way, check, &self.tls)).await,
            Check::Exec(check) => Box::pin(self.commands.ask(way.to, check)).await,
        };
        answer.map(|()| None)
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
        let question = Box::pin(full_size::ask(&portal, from, asked.address, bytes));
        match within(asked.timeout, question).await {
            Ok(()) => {
                self.turns.arrived(from);
                Outcome::Ok
            }
            Err(Outcome::Timeout) => Outcome::FullSizeLost,
            Err(other) => other,
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
