//! The command line's end of the API.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1, header::CONTENT_TYPE};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::{
    error::{Code, Error, ErrorBody},
    types::{
        Applied, ApplyRequest, BackendDetail, BackendRequest, BackendSetup, BalancerChanged,
        BalancerRequest, Changed, Detached, EventItem, List, Observation, Why, WhyRequest,
    },
};

/// How long a question may take.
const FOR_ANSWERS: Duration = Duration::from_secs(30);
/// How long a change may take, for which programs may have to be loaded: the kernel's verifier takes a second on
/// most machines, and minutes on those that are emulated or busy.
const FOR_CHANGES: Duration = Duration::from_mins(10);

/// Speaks with the daemon behind one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client for the daemon that listens on `socket`.
    #[must_use]
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// All there is to see.
    ///
    /// # Errors
    /// [`Code::Unreachable`], or what the daemon answers.
    pub async fn observe(&self) -> Result<Observation, Error> {
        self.call::<(), _>(Method::GET, "/v1/observation", None)
            .await
    }

    /// All there is to see of a backend of a service.
    ///
    /// # Errors
    /// [`Code::Unreachable`], or what the daemon answers.
    pub async fn show(&self, service: &str, backend: &str) -> Result<List<BackendDetail>, Error> {
        let path = format!("/v1/backends/{}/{}", segment(service), segment(backend));
        self.call::<(), _>(Method::GET, &path, None).await
    }

    /// What the backends of all services need for their modes.
    ///
    /// # Errors
    /// [`Code::Unreachable`], or what the daemon answers.
    pub async fn setup(&self) -> Result<List<BackendSetup>, Error> {
        self.call::<(), _>(Method::GET, "/v1/backend-setup", None)
            .await
    }

    /// What happened after the event of a number. `waits`: until there is some, for a while.
    ///
    /// # Errors
    /// [`Code::Unreachable`], or what the daemon answers.
    pub async fn events(&self, number: u64, waits: bool) -> Result<List<EventItem>, Error> {
        let next = if waits { "next-" } else { "" };
        let path = format!("/v1/events/{next}after/{number}");
        self.call::<(), _>(Method::GET, &path, None).await
    }

    /// Changes a backend.
    ///
    /// # Errors
    /// [`Code::Unreachable`], or what the daemon answers.
    pub async fn change(&self, request: &BackendRequest) -> Result<Changed, Error> {
        self.call(Method::POST, "/v1/backends", Some(request)).await
    }

    /// Changes the balancer itself.
    ///
    /// # Errors
    /// [`Code::Unreachable`], or what the daemon answers.
    pub async fn administer(&self, request: &BalancerRequest) -> Result<BalancerChanged, Error> {
        self.call(Method::POST, "/v1/balancer", Some(request)).await
    }

    /// Applies a configuration.
    ///
    /// # Errors
    /// [`Code::Unreachable`], or what the daemon answers.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<Applied, Error> {
        self.call(Method::POST, "/v1/apply", Some(request)).await
    }

    /// What becomes of a packet.
    ///
    /// # Errors
    /// [`Code::Unreachable`], or what the daemon answers.
    pub async fn why(&self, request: &WhyRequest) -> Result<Why, Error> {
        self.call(Method::POST, "/v1/why", Some(request)).await
    }

    /// Takes the data path down; the daemon exits.
    ///
    /// # Errors
    /// [`Code::Unreachable`], or what the daemon answers.
    pub async fn detach(&self) -> Result<Detached, Error> {
        self.call::<(), _>(Method::POST, "/v1/detach", None).await
    }

    async fn call<Q, A>(&self, method: Method, path: &str, body: Option<&Q>) -> Result<A, Error>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned,
    {
        let patience = if method == Method::GET {
            FOR_ANSWERS
        } else {
            FOR_CHANGES
        };
        let request = request(method, path, body).map_err(broken)?;
        match tokio::time::timeout(patience, self.exchange(request)).await {
            Ok(answer) => read(&answer?),
            Err(_) => Err(Error::new(
                Code::Unreachable,
                format!("no answer on {} for {patience:?}", self.socket.display()),
            )),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(bool, Bytes), Error> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| unreachable(&self.socket, &error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(broken)?;
        let good = response.status().is_success();
        let body = response.collect().await.map_err(broken)?.to_bytes();
        connection.abort();
        Ok((good, body))
    }
}

/// A word as it stands in a path (RFC 3986, §2.1).
fn segment(word: &str) -> String {
    let encoded = word.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn request<Q: Serialize>(
    method: Method,
    path: &str,
    body: Option<&Q>,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let body = body
        .map(serde_json::to_vec)
        .transpose()?
        .unwrap_or_default();
    Ok(Request::builder()
        .method(method)
        .uri(path)
        .header("host", "xlb")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?)
}

fn read<A: DeserializeOwned>((good, body): &(bool, Bytes)) -> Result<A, Error> {
    if *good {
        return serde_json::from_slice(body).map_err(broken);
    }
    Err(match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error,
        Err(_) => Error::new(Code::Failed, String::from_utf8_lossy(body)),
    })
}

fn unreachable(socket: &Path, error: &io::Error) -> Error {
    let socket = socket.display();
    let message = format!("cannot reach the daemon on {socket}: {error}");
    Error::new(Code::Unreachable, message).hint(match error.kind() {
        ErrorKind::PermissionDenied => "the socket is for root: use sudo",
        _ => "start it with `xlb run -c FILE`, or name its --instance and --run-dir",
    })
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::new(
        Code::Failed,
        format!("talk with the daemon broke off: {error}"),
    )
}
