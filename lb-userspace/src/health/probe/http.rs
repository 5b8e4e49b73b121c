//! A request over HTTP/1.1 on a connection of its own.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    client::conn::http1::handshake,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use super::{Way, tcp, tls};
use crate::{
    config::model::{Adviser, Http},
    health::{Outcome, feedback::Advice},
};

const USER_AGENT: &str = concat!("xlb/", env!("CARGO_PKG_VERSION"), " (probe)");

/// Asks, and judges status and content; what the answer says beside that.
pub(super) async fn ask(
    way: &Way,
    check: &Http,
    adviser: Option<&Adviser>,
    clients: &tls::Clients,
) -> Result<Option<Advice>, Outcome> {
    let request = request(way.to, check).map_err(|_error| Outcome::NotMade(libc::EINVAL))?;
    // Dropped, it ends the connection.
    let mut driver = JoinSet::new();
    let response = match &check.tls {
        None => exchange(tcp::connect(way).await?, request, &mut driver).await?,
        Some(tls) => {
            let host = check.host.as_deref();
            let stream = clients.connect(way, tls, host, b"http/1.1").await?;
            exchange(stream, request, &mut driver).await?
        }
    };
    let status = response.status().as_u16();
    if !check.is_good(status) {
        return Err(Outcome::Status(status));
    }
    let advice = advice(&response, adviser);
    let Some(pattern) = &check.body else {
        return Ok(advice);
    };
    let content = content(response.into_body()).await?;
    let is_good = pattern.is_in(&content);
    is_good.then_some(advice).ok_or(Outcome::Unexpected)
}

/// What a header says, where one is asked for.
fn advice<B>(response: &Response<B>, adviser: Option<&Adviser>) -> Option<Advice> {
    let Some(Adviser::Header(name)) = adviser else {
        return None;
    };
    let value = response.headers().get(name);
    let text = value.and_then(|value| value.to_str().ok());
    Some(text.map_or(Advice::Invalid, Advice::parse))
}

fn request(address: SocketAddr, check: &Http) -> hyper::http::Result<Request<Empty<Bytes>>> {
    let host = check.host.clone().unwrap_or_else(|| address.to_string());
    let mut request = Request::builder()
        .method(check.method)
        .uri(&check.path)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close");
    let names_agent = check
        .headers
        .iter()
        .any(|(name, _)| name == header::USER_AGENT.as_str());
    if !names_agent {
        request = request.header(header::USER_AGENT, USER_AGENT);
    }
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    request.body(Empty::new())
}

/// Sends a request and waits for the head of the answer; `driver` has the connection.
pub(crate) async fn exchange<S, B>(
    stream: S,
    request: Request<B>,
    driver: &mut JoinSet<()>,
) -> Result<Response<Incoming>, Outcome>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(outcome)?;
    driver.spawn(async move {
        // Its error is the request's.
        drop(connection.await);
    });
    sender.send_request(request).await.map_err(outcome)
}

/// As much of it as is looked at.
async fn content(mut body: Incoming) -> Result<Vec<u8>, Outcome> {
    let mut content = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.map_err(outcome)?.data_ref() {
            content.extend_from_slice(data);
        }
        if content.len() >= Http::MOST {
            content.truncate(Http::MOST);
            break;
        }
    }
    Ok(content)
}

/// What an error of a connection says.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` gives it away")]
pub(super) fn outcome(error: hyper::Error) -> Outcome {
    use std::{error::Error as _, io};

    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Outcome::from_stream_error(error);
        }
        source = error.source();
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Outcome::Closed
    } else {
        Outcome::Malformed
    }
}
