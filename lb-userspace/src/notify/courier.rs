//! How a receiver is told: by a request, or by a command.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request,
    header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use tokio::{
    net::lookup_host,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    config::model::{Exec, Way, Webhook},
    health::{
        Outcome,
        probe::{self, exec, http, tcp, tls},
    },
};

const AGENT: &str = concat!("xlb/", env!("CARGO_PKG_VERSION"), " (notify)");

/// What tells a receiver.
#[derive(Debug)]
pub(super) struct Courier {
    way: Way,
    timeout: Duration,
    tls: tls::Clients,
    commands: exec::Commands,
    /// A look-up of the receiver's host. It goes on where an attempt gives up: a resolver that hangs is asked one thing at a
    /// time.
    lookup: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
    attempts: usize,
}

impl Courier {
    pub(super) fn new(way: Way, timeout: Duration) -> Self {
        Self {
            way,
            timeout,
            tls: tls::Clients::default(),
            commands: exec::Commands::default(),
            lookup: None,
            attempts: 0,
        }
    }

    /// Tells it once, within its time. `what` is the event's word.
    pub(super) async fn tell(&mut self, what: &str, message: Bytes) -> Result<(), Outcome> {
        self.attempts = self.attempts.wrapping_add(1);
        let patience = self.timeout;
        let way = self.way.clone();
        let told = async {
            match &way {
                Way::Webhook(webhook) => self.post(webhook, message).await,
                Way::Exec(exec) => self.run(exec, what, &message).await,
            }
        };
        timeout(patience, told)
            .await
            .unwrap_or(Err(Outcome::Timeout))
    }

    async fn run(&self, exec: &Exec, what: &str, message: &[u8]) -> Result<(), Outcome> {
        let variables = vec![("XLB_EVENT", what.to_owned())];
        self.commands.run(exec, variables, Some(message)).await
    }

    async fn post(&mut self, webhook: &Webhook, message: Bytes) -> Result<(), Outcome> {
        let request = request(webhook, message).ok_or(Outcome::NotMade(libc::EINVAL))?;
        let address = self.address(webhook).await?;
        // Dropped, it ends the connection.
        let mut driver = JoinSet::new();
        let response = match &webhook.tls {
            None => {
                http::exchange(
                    tcp::connect(&probe::Way::to(address)).await?,
                    request,
                    &mut driver,
                )
                .await?
            }
            Some(tls) => {
                let host = Some(webhook.host.as_str());
                let stream = self
                    .tls
                    .connect(&probe::Way::to(address), tls, host, b"http/1.1")
                    .await?;
                http::exchange(stream, request, &mut driver).await?
            }
        };
        let status = response.status();
        let is_good = status.is_success();
        is_good
            .then_some(())
            .ok_or(Outcome::Status(status.as_u16()))
    }

    /// One of the host's addresses, another one with each attempt.
    async fn address(&mut self, webhook: &Webhook) -> Result<SocketAddr, Outcome> {
        let lookup = self.lookup.get_or_insert_with(|| {
            let (host, port) = (webhook.host.clone(), webhook.port);
            tokio::spawn(async move { Ok(lookup_host((host, port)).await?.collect()) })
        });
        let found = lookup.await;
        self.lookup = None;
        let not_found = Outcome::NotMade(libc::ENOENT);
        let addresses = found
            .map_err(|_gone| not_found)?
            .map_err(|_error| not_found)?;
        let mut turn = addresses.into_iter().cycle();
        turn.nth(self.attempts % 8).ok_or(not_found)
    }
}

/// What is asked of a receiver; its own headers win over those that all get.
fn request(webhook: &Webhook, message: Bytes) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&webhook.path)
        .header(HOST, webhook.authority())
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, AGENT)
        .body(Full::new(message))
        .ok()?;
    for (name, value) in &webhook.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = HeaderValue::from_str(value).ok()?;
        request.headers_mut().insert(name, value);
    }
    Some(request)
}
