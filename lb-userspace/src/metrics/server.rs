//! The metrics' listener: read-only.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, anyhow};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::TEXT_FORMAT;
use tokio::{net::TcpListener, task::spawn_blocking};

use super::{Events, page};
use crate::{
    api::{Error, Handle},
    daemon::heap,
};

/// Listens for scrapes.
///
/// # Errors
/// Where the address is taken or not ours.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let busy = error.kind() == ErrorKind::AddrInUse;
        let cure = if busy {
            "name another one with --metrics ADDR:PORT, or none"
        } else {
            "name an address of this host with --metrics ADDR:PORT, or none"
        };
        anyhow!(error).context(format!("cannot serve metrics on {address}: {cure}"))
    })
}

/// Serves `GET /metrics` on `listener` until the task is dropped.
///
/// # Errors
/// Where the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    handle: Handle,
    events: Arc<Mutex<Events>>,
) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .with_state((handle, events));
    axum::serve(listener, router)
        .await
        .context("the metrics' listener failed")
}

type Sources = (Handle, Arc<Mutex<Events>>);

async fn metrics(State((handle, events)): State<Sources>) -> Response {
    let observation = match handle.observe().await {
        Ok(observation) => observation,
        Err(error) => return failed(&error),
    };
    let counted = events
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .gather();
    // With many backends it is long: probes do not wait for it.
    let page = spawn_blocking(move || {
        let page = page(&counted, &observation);
        drop((counted, observation));
        heap::trim();
        page
    });
    match page.await.map_err(|error| anyhow!(error)) {
        Ok(Ok(text)) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Ok(Err(error)) => failed(&Error::from(anyhow!(error))),
        Err(error) => failed(&Error::from(error)),
    }
}

fn failed(error: &Error) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
}
