//! `grpc.health.v1.Health/Check` over HTTP/2
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>,
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
//!
//! Its two messages have one field each, so that no compiler of protocol buffers is wanted.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Request, Response, body::Incoming, client::conn::http2::handshake, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use super::{Way, http::outcome, tcp, tls};
use crate::{config::model::Grpc, health::Outcome};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// A field's number and type: 1, of a length (a string), and 1, of a number (an enumeration).
const SERVICE: u8 = 1 << 3 | 2;
const STATUS: u8 = 1 << 3;
/// `ServingStatus.SERVING`.
const SERVING: u8 = 1;
/// Whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Bytes of an answer; a good one has seven.
const MOST: usize = 4096;

/// Asks, and judges what is answered.
pub(super) async fn ask(way: &Way, check: &Grpc, clients: &tls::Clients) -> Result<(), Outcome> {
    let mut driver = JoinSet::new();
    let response = match &check.tls {
        None => {
            let request = request("http", way.to, &check.service)?;
            exchange(tcp::connect(way).await?, request, &mut driver).await?
        }
        Some(tls) => {
            let request = request("https", way.to, &check.service)?;
            let stream = clients.connect(way, tls, None, b"h2").await?;
            exchange(stream, request, &mut driver).await?
        }
    };
    judge(response).await
}

fn request(
    scheme: &str,
    address: SocketAddr,
    service: &str,
) -> Result<Request<Full<Bytes>>, Outcome> {
    let message = message(service).ok_or(Outcome::NotMade(libc::EMSGSIZE))?;
    let request = Request::post(format!("{scheme}://{address}{PATH}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::from(message));
    request.map_err(|_error| Outcome::NotMade(libc::EINVAL))
}

/// `HealthCheckRequest`, with its prefix; `None` for a name of more than 100 bytes.
fn message(service: &str) -> Option<Vec<u8>> {
    const MOST: usize = 100;
    let length = u8::try_from(service.len())
        .ok()
        .filter(|it| usize::from(*it) <= MOST)?;
    let field = match length {
        0 => Vec::new(),
        length => [&[SERVICE, length], service.as_bytes()].concat(),
    };
    let prefix = [0, 0, 0, 0, u8::try_from(field.len()).ok()?];
    Some([&prefix[..], &field].concat())
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    driver: &mut JoinSet<()>,
) -> Result<Response<Incoming>, Outcome>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(outcome)?;
    driver.spawn(async move {
        // Its error is the request's.
        drop(connection.await);
    });
    sender.send_request(request).await.map_err(outcome)
}

async fn judge(response: Response<Incoming>) -> Result<(), Outcome> {
    let status = response.status().as_u16();
    if status != 200 {
        return Err(Outcome::Status(status));
    }
    // Where there is no message, the status stands among the headers.
    if let Some(status) = grpc_status(response.headers()) {
        return Err(refused(status));
    }
    let whole = Limited::new(response.into_body(), MOST).collect().await;
    let whole = whole.map_err(|error| {
        let error = error.downcast::<hyper::Error>();
        error.map_or(Outcome::Malformed, |error| outcome(*error))
    })?;
    let status = whole.trailers().and_then(grpc_status);
    match (status, whole.to_bytes().get(PREFIX..)) {
        (None, _) => Err(Outcome::Malformed),
        (Some(0), Some([STATUS, SERVING, ..])) => Ok(()),
        (Some(0), _) => Err(Outcome::NotServing),
        (Some(status), _) => Err(refused(status)),
    }
}

/// An answer without a message is none.
const fn refused(status: u32) -> Outcome {
    match status {
        0 => Outcome::Malformed,
        status => Outcome::Grpc(status),
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(message("").unwrap(), [0; 5]);
        assert_eq!(message("a.B").unwrap(), b"\0\0\0\0\x05\x0a\x03a.B");
        assert_eq!(message(&"x".repeat(101)), None);
    }
}
