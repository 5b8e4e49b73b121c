//! What asks: flows that are counted one by one.
//!
//! * [`burst`]: so many flows, as fast as it goes; who answers.
//! * [`steady`]: new connections all the time, with a journal of each.
//! * [`held`]: connections that stay open and are heard of all the time.

pub(super) mod burst;
pub(super) mod held;
pub(super) mod steady;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{TcpSocket, TcpStream, UdpSocket},
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
    time::timeout,
};

use super::interrupt::{Interrupt, POLL};
use crate::lab::Namespace;

/// How long a connection may take until it counts as failed: a lost SYN is sent again after 1 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a datagram is sent at most, and how long its answer is waited for.
const TRIES: u32 = 3;
const TRY: Duration = Duration::from_millis(500);

/// From here on are the ports of connections that are held. The kernel gives them to no other, so that who had one can
/// have it again.
const FIRST_CHOSEN_PORT: u16 = 2000;

/// Ports that the kernel may give, as `ip_local_port_range` wants them.
pub(super) const EPHEMERAL_PORTS: &str = "10000 65535";

/// A runtime on one thread: client and servers share few processors with all the others.
pub(super) fn runtime() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// A thread in the client's namespace; its work ends with it.
#[derive(Debug)]
pub(super) struct Client {
    handle: Handle,
    /// The next port of choice.
    next_port: AtomicU16,
    /// Ends the thread when dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Client {
    /// Starts the thread.
    pub(super) fn start(namespace: &Namespace) -> Result<Self> {
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let wait = move || {
            // It is never sent anything; that the sender is gone is the message.
            drop(runtime.block_on(stopped));
        };
        let thread =
            namespace.enter(|| thread::Builder::new().name("client".into()).spawn(wait))?;
        Ok(Self {
            handle,
            next_port: AtomicU16::new(FIRST_CHOSEN_PORT),
            stop: Some(stop),
            thread: Some(thread.context("cannot start a thread")?),
        })
    }

    /// Ports that nobody has had.
    fn choose_ports(&self, count: u16) -> Range<u16> {
        let first = self.next_port.fetch_add(count, Ordering::Relaxed);
        first..first.saturating_add(count)
    }

    /// Does something on the thread and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        interrupt: &Interrupt,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = mpsc::channel();
        self.handle.spawn(async move {
            // Nobody waits after an interrupt.
            drop(sender.send(work.await));
        });
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Timeout) => interrupt.check()?,
                Err(RecvTimeoutError::Disconnected) => bail!("the client has ended"),
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Err(panic)) = self.thread.take().map(thread::JoinHandle::join) {
            tracing::warn!(?panic, "the client ended early");
        }
    }
}

/// A TCP connection and the name of who is at its other end.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    name: String,
}

/// Connects, from a port of choice if `from` is given, and reads the name.
async fn connect(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<Connection> {
    timeout(PATIENCE, greeted(to, from))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn greeted(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<Connection> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if let Some(from) = from {
        socket.set_reuseaddr(true)?;
        socket.bind(from)?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    match line.strip_suffix('\n') {
        Some(name) => Ok(Connection {
            name: name.to_owned(),
            stream,
        }),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A short connection: who answers.
async fn ask_tcp(to: SocketAddr) -> io::Result<String> {
    connect(to, None).await.map(|connection| connection.name)
}

/// A flow of one datagram, sent again where an answer is missing: who answers.
async fn ask_udp(to: SocketAddr) -> io::Result<String> {
    let socket = UdpSocket::bind(any(to, 0)).await?;
    socket.connect(to).await?;
    let mut answer = [0; 64];
    for _ in 0..TRIES {
        socket.send(b"?").await?;
        if let Ok(received) = timeout(TRY, socket.recv(&mut answer)).await {
            return name(answer.get(..received?).unwrap_or_default());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// A port of any address, of the same family as another one.
fn any(family: SocketAddr, port: u16) -> SocketAddr {
    let address: IpAddr = match family {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    (address, port).into()
}

fn name(answer: &[u8]) -> io::Result<String> {
    let text = str::from_utf8(answer).map_err(io::Error::other)?;
    let line = text.split_once('\n').map(|(name, _)| name.to_owned());
    line.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
