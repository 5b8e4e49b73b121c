//! One question to one address. The scheduler knows [`Probe`] alone; [`Kinds`] asks in reality.
//!
//! Each kind is a function that ends well or with the [`Outcome`] that says why not; how long it may take is
//! nothing that it knows.

use std::{
    future::Future,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use super::Outcome;
use crate::config::model::Check;

mod dns;
mod exec;
mod grpc;
mod http;
mod talk;
mod tcp;
mod tls;

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
}

impl Probe for Kinds {
    async fn probe(&self, asked: &Asked) -> Answer {
        let begun = Instant::now();
        let outcome = match timeout_at(begun + asked.timeout, self.ask(asked)).await {
            Ok(Ok(())) => Outcome::Ok,
            Ok(Err(outcome)) => outcome,
            Err(_elapsed) => Outcome::Timeout,
        };
        Answer {
            outcome,
            latency: begun.elapsed(),
        }
    }
}

impl Kinds {
    async fn ask(&self, asked: &Asked) -> Result<(), Outcome> {
        let address = asked.address;
        match &*asked.check {
            Check::Tcp(check) => talk::over_tcp(address, check).await,
            Check::Udp(check) => talk::over_udp(address, check).await,
            Check::Http(check) => http::ask(address, check, &self.tls).await,
            Check::Dns(check) => dns::ask(address, check).await,
            Check::Grpc(check) => grpc::ask(address, check, &self.tls).await,
            Check::Exec(check) => self.commands.run(address, check).await,
        }
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
