//! The daemon's end: routes, and what each one asks of the daemon's loop.
//!
//! A GET changes nothing, nor does a question about a packet. Every other POST is logged with who sent it.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{
        ConnectInfo, DefaultBodyLimit, Path, State, connect_info::Connected,
        rejection::JsonRejection,
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::IncomingStream,
};
use nix::unistd::{Uid, User};
use tokio::{net::UnixListener, sync::watch};
use tracing::info;

use super::{
    error::{Code, Error, ErrorBody},
    handle::Handle,
    types::{
        Applied, ApplyRequest, BackendDetail, BackendItem, BackendRequest, BackendSetup,
        BalancerChanged, BalancerRequest, Changed, Detached, EventItem, List, Observation,
        ServiceItem, Status, Why, WhyRequest,
    },
};

/// The largest request in bytes: a configuration and what JSON adds to it.
pub const MAX_REQUEST: usize = 4 << 20;

/// How long the next event is waited for, in one answer.
const FOR_EVENTS: Duration = Duration::from_secs(10);

/// Serves the API on `listener` until the sender of `stop` is gone; answers that are under way then
/// still leave.
///
/// # Errors
/// Where the listener fails for good.
pub async fn serve(
    listener: UnixListener,
    handle: Handle,
    mut stop: watch::Receiver<()>,
) -> std::io::Result<()> {
    let service = router(handle).into_make_service_with_connect_info::<Peer>();
    let stopped = async move { while stop.changed().await.is_ok() {} };
    axum::serve(listener, service)
        .with_graceful_shutdown(stopped)
        .await
}

fn router(handle: Handle) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/services", get(services))
        .route("/v1/backends", get(backends).post(change))
        .route("/v1/backends/{service}/{backend}", get(show))
        .route("/v1/observation", get(observation))
        .route("/v1/backend-setup", get(setup))
        .route("/v1/events/after/{number}", get(events))
        .route("/v1/events/next-after/{number}", get(next_events))
        .route("/v1/balancer", post(administer))
        .route("/v1/apply", post(apply))
        .route("/v1/why", post(why))
        .route("/v1/detach", post(detach))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(handle)
}

/// Who is at the other end of the socket.
#[derive(Clone, Debug)]
struct Peer {
    user: String,
    pid: i32,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        stream.io().peer_cred().map_or_else(
            |_| Self {
                user: "unknown".to_owned(),
                pid: 0,
            },
            |peer| Self {
                user: user_name(peer.uid()),
                pid: peer.pid().unwrap_or(0),
            },
        )
    }
}

fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

type Answer<T> = Result<Json<T>, Error>;
type Body<T> = Result<Json<T>, JsonRejection>;

async fn observation(State(handle): State<Handle>) -> Answer<Observation> {
    handle.observe().await.map(Json)
}

async fn status(State(handle): State<Handle>) -> Answer<Status> {
    Ok(Json(handle.observe().await?.status))
}

async fn services(State(handle): State<Handle>) -> Answer<List<ServiceItem>> {
    Ok(Json(List::new(handle.observe().await?.status.services)))
}

async fn backends(State(handle): State<Handle>) -> Answer<List<BackendItem>> {
    Ok(Json(List::new(handle.observe().await?.backends)))
}

async fn show(
    State(handle): State<Handle>,
    Path(whom): Path<[String; 2]>,
) -> Answer<List<BackendDetail>> {
    Ok(Json(List::new(vec![handle.show(whom).await?])))
}

async fn setup(State(handle): State<Handle>) -> Answer<List<BackendSetup>> {
    Ok(Json(List::new(handle.setup().await?)))
}

async fn why(State(handle): State<Handle>, body: Body<WhyRequest>) -> Answer<Why> {
    let Json(request) = body?;
    handle.why(request).await.map(Json)
}

async fn events(State(handle): State<Handle>, Path(number): Path<u64>) -> Json<List<EventItem>> {
    Json(List::new(handle.chronicle().after(number)))
}

/// Waits until there are any, for some time.
async fn next_events(
    State(handle): State<Handle>,
    Path(number): Path<u64>,
) -> Json<List<EventItem>> {
    let events = handle.chronicle().wait_after(number, FOR_EVENTS);
    Json(List::new(events.await))
}

async fn change(
    State(handle): State<Handle>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Body<BackendRequest>,
) -> Answer<Changed> {
    let Json(request) = body?;
    let answer = handle.change(request.clone()).await;
    audit(&peer, &request, &answer);
    if answer.is_ok() {
        handle.chronicle().record(EventItem {
            what: "changed".to_owned(),
            service: Some(request.service),
            backend: Some(request.backend),
            cause: format!("{} by {}", request.verb.word(), peer.user),
            ..EventItem::default()
        });
    }
    answer.map(Json)
}

fn audit(peer: &Peer, request: &BackendRequest, answer: &Result<Changed, Error>) {
    let changed = answer.as_ref().ok();
    info!(
        user = %peer.user,
        pid = peer.pid,
        service = %request.service,
        backend = %request.backend,
        verb = request.verb.word(),
        for_seconds = request.for_seconds,
        revision = changed.map(|changed| changed.revision),
        slots_moved = changed.map(|changed| changed.slots_moved),
        result = result(answer),
        "changed by hand"
    );
}

async fn administer(
    State(handle): State<Handle>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Body<BalancerRequest>,
) -> Answer<BalancerChanged> {
    let Json(request) = body?;
    let answer = handle.administer(request).await;
    info!(
        user = %peer.user,
        pid = peer.pid,
        verb = request.verb.word(),
        for_seconds = request.for_seconds,
        result = result(&answer),
        "the balancer itself changed by hand"
    );
    answer.map(Json)
}

async fn apply(
    State(handle): State<Handle>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Body<ApplyRequest>,
) -> Answer<Applied> {
    let Json(request) = body?;
    let answer = handle.apply(request).await;
    info!(user = %peer.user, pid = peer.pid, result = result(&answer), "apply");
    if let Ok(applied) = &answer {
        handle.chronicle().record(EventItem {
            what: "applied".to_owned(),
            cause: format!("revision {} by {}", applied.revision, peer.user),
            ..EventItem::default()
        });
    }
    answer.map(Json)
}

async fn detach(
    State(handle): State<Handle>,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Answer<Detached> {
    let answer = handle.detach().await;
    info!(user = %peer.user, pid = peer.pid, result = result(&answer), "detach");
    answer.map(Json)
}

fn result<T>(answer: &Result<T, Error>) -> &str {
    match answer {
        Ok(_) => "ok",
        Err(error) => error.message.lines().next().unwrap_or("failed"),
    }
}

async fn unknown_path() -> Error {
    Error::new(Code::NotFound, "no such path in this API").hint("is the daemon older than xlb?")
}

async fn wrong_method() -> Error {
    Error::new(Code::Usage, "this path does not know that method")
}

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(Code::Usage, rejection.body_text())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody { error: self })).into_response()
    }
}
