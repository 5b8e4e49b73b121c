//! The two doors of the daemon: its API, and its metrics.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tracing::error;

use crate::{
    api::{self, Handle},
    metrics::{self, Events},
};

/// Both listeners, bound but not served.
#[derive(Debug)]
pub(super) struct Doors {
    api: UnixListener,
    metrics: Option<TcpListener>,
}

impl Doors {
    /// Opens the API's beside that of the metrics.
    pub(super) fn open(socket: &Path, metrics: Option<TcpListener>) -> anyhow::Result<Self> {
        let api = api::socket::listen(socket)?;
        Ok(Self { api, metrics })
    }

    /// Where metrics are served.
    pub(super) fn metrics_address(&self) -> anyhow::Result<Option<SocketAddr>> {
        let address = self.metrics.as_ref().map(TcpListener::local_addr);
        address
            .transpose()
            .context("cannot tell the metrics' address")
    }

    /// Serves both.
    pub(super) fn serve(self, handle: Handle, events: Arc<Mutex<Events>>) -> Servers {
        let (stop, stopped) = watch::channel(());
        let mut tasks = JoinSet::new();
        if let Some(listener) = self.metrics {
            let served = metrics::serve(listener, handle.clone(), events);
            tasks.spawn(async move {
                if let Err(error) = served.await {
                    error!(%error, "metrics are no longer served");
                }
            });
        }
        let served = api::server::serve(self.api, handle, stopped);
        tasks.spawn(async move {
            if let Err(error) = served.await {
                error!(%error, "the API is no longer served");
            }
        });
        Servers { stop, tasks }
    }
}

/// Both, being served.
#[derive(Debug)]
pub(super) struct Servers {
    stop: watch::Sender<()>,
    tasks: JoinSet<()>,
}

/// How long answers that are under way may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

impl Servers {
    /// Lets answers that are under way leave, then closes both doors.
    pub(super) async fn close(self) {
        let Self { stop, mut tasks } = self;
        drop(stop);
        // Metrics end by being dropped; the API when its last answer has left.
        let last = timeout(LAST_ANSWERS, tasks.join_next());
        drop(last.await);
        tasks.abort_all();
    }
}
