//! A TCP server that needs no program: it tells its name, and then sends back what it gets.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_userspace::lab::Namespace;

/// How often is looked whether to stop.
const POLL: Duration = Duration::from_millis(5);

/// How long a client waits for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server. Dropped, it takes no more connections; those that are open go on.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it at an address of the namespace.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn start(namespace: &Namespace, name: &str, address: SocketAddr) -> Result<Self> {
        let listener = namespace
            .enter(|| TcpListener::bind(address))?
            .with_context(|| format!("cannot bind {address}"))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (format!("{name}\n"), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                accept(&listener, &name);
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

/// Takes a connection, if there is one.
fn accept(listener: &TcpListener, name: &str) {
    let Ok((stream, _)) = listener.accept() else {
        return thread::sleep(POLL);
    };
    let name = name.to_owned();
    // Errors are the client's business: it sees the end of the stream.
    thread::spawn(move || echo(&stream, &name).unwrap_or_default());
}

fn echo(mut stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.write_all(name.as_bytes())?;
    let mut from = stream;
    io::copy(&mut from, &mut stream).map(drop)
}

/// A connection to an [`Echo`], through a balancer or not.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// The server's name.
    pub name: String,
}

impl Connection {
    /// Connects from the calling thread's namespace, and hears the server's name.
    ///
    /// # Errors
    /// If there is no connection, or no name.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut name = String::new();
        // The server says nothing more until it is spoken to.
        BufReader::new(&stream).read_line(&mut name)?;
        Ok(Self {
            stream,
            name: name.trim_end().to_owned(),
        })
    }

    /// Sends bytes, and reads as many: whether they are the same.
    ///
    /// # Errors
    /// If the connection breaks.
    ///
    /// # Panics
    /// If the thread that sends does.
    pub fn returns(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let mut received = vec![0; bytes.len()];
        let mut sending = &self.stream;
        // At once: a stream that nobody reads is not taken any further.
        thread::scope(|scope| {
            let sent = scope.spawn(move || sending.write_all(bytes));
            let mut stream = &self.stream;
            stream.read_exact(&mut received)?;
            sent.join().expect("a thread that sends")
        })?;
        Ok(received == bytes)
    }

    /// Ends it well.
    ///
    /// # Errors
    /// If it broke before, or the server goes on speaking.
    pub fn close(self) -> io::Result<bool> {
        self.stream.shutdown(Shutdown::Write)?;
        let mut stream = &self.stream;
        Ok(stream.read(&mut [0])? == 0)
    }
}
