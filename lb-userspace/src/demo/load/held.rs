//! Connections that stay open. Each sends a number every moment and waits for it to come back, so
//! that one that is cut is noticed at once.

use std::{
    io,
    net::SocketAddr,
    ops::Range,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{super::interrupt::Interrupt, Client, Connection, PATIENCE, any, connect};

/// From one number to the next.
const BEAT: Duration = Duration::from_millis(50);

/// One connection.
#[derive(Debug)]
pub(in super::super) struct Flow {
    /// Who is at the other end.
    pub(in super::super) backend: String,
    broken: OnceLock<io::Error>,
}

impl Flow {
    /// Whether it has been cut.
    pub(in super::super) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }
}

/// Connections that are closed when this is dropped.
#[derive(Debug)]
pub(in super::super) struct Held {
    flows: Vec<Arc<Flow>>,
    /// Closes the connections when dropped.
    _beats: JoinSet<()>,
}

impl Held {
    /// Opens so many.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub(in super::super) fn open(
        client: &Client,
        interrupt: &Interrupt,
        to: SocketAddr,
        count: u16,
    ) -> Result<Self> {
        let ports = client.choose_ports(count);
        let opened = client.run(interrupt, open(to, ports))?;
        let opened = opened.with_context(|| format!("cannot open connections to {to}"))?;
        let mut beats = JoinSet::new();
        let mut flows = Vec::with_capacity(opened.len());
        for (flow, connection) in opened {
            flows.push(Arc::clone(&flow));
            beats.spawn_on(keep(flow, connection), &client.handle);
        }
        Ok(Self {
            flows,
            _beats: beats,
        })
    }

    /// All of them.
    pub(in super::super) fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().map(Arc::as_ref)
    }

    /// Those to `backend`, or to all others where `is` is false.
    pub(in super::super) fn to(&self, backend: &str, is: bool) -> Vec<&Flow> {
        self.flows()
            .filter(|flow| (flow.backend == backend) == is)
            .collect()
    }
}

type Opened = Vec<(Arc<Flow>, Connection)>;

async fn open(to: SocketAddr, ports: Range<u16>) -> io::Result<Opened> {
    let mut opened = Vec::with_capacity(ports.len());
    for port in ports {
        let connection = connect(to, Some(any(to, port))).await?;
        let flow = Flow {
            backend: connection.name.clone(),
            broken: OnceLock::new(),
        };
        opened.push((Arc::new(flow), connection));
    }
    Ok(opened)
}

async fn keep(flow: Arc<Flow>, mut connection: Connection) {
    for number in 0_u64.. {
        let beat = timeout(PATIENCE, beat(&mut connection, number)).await;
        let beat = beat.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if let Err(error) = beat {
            // It is closed before it is told, so that its port is free for whoever reads it.
            drop(connection);
            flow.broken.get_or_init(|| error);
            return;
        }
        sleep(BEAT).await;
    }
}

async fn beat(connection: &mut Connection, number: u64) -> io::Result<()> {
    let sent = number.to_be_bytes();
    let mut received = [0; 8];
    connection.stream.write_all(&sent).await?;
    connection.stream.flush().await?;
    connection.stream.read_exact(&mut received).await?;
    if received == sent {
        return Ok(());
    }
    Err(io::ErrorKind::InvalidData.into())
}
