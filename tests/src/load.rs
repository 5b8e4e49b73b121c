//! Clients that go on until they are stopped, and remember everything that went wrong.
//!
//! Each runs on a thread in the client's namespace; dropped, it stops.
#![expect(clippy::disallowed_types, reason = "real connections take real time")]

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Family, Namespace};

/// How long a client waits for a connection, or for an answer to a datagram.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How long it waits for an answer on a connection: packets that are lost are sent again, four times within this.
const TIME_TO_REPEAT: Duration = Duration::from_secs(6);

/// What a client remembers.
pub trait Client: Send + 'static {
    /// Does something once.
    fn turn(&mut self);
}

/// A client at work.
#[derive(Debug)]
pub struct Load<C> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<C>>,
}

impl<C: Client> Load<C> {
    /// Lets a client do its turns in a namespace, with a pause after each.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn start(namespace: &Namespace, mut client: C, pause: Duration) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                client.turn();
                thread::sleep(pause);
            }
            client
        };
        // A thread that is started inside stays inside.
        let thread = namespace.enter(|| thread::spawn(work))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops it, for what it remembers.
    ///
    /// # Errors
    /// If it was stopped before.
    ///
    /// # Panics
    /// If it did.
    pub fn stop(mut self) -> Result<C> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("stopped before")?;
        thread.join().or_else(|panic| resume_unwind(panic))
    }
}

impl<C> Drop for Load<C> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A connection to a web server, and the name that it told first.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// The server's name.
    pub name: String,
    /// Pages that it has sent.
    pub pages: u64,
    /// When it sent the last one.
    heard: Instant,
    /// When it was opened.
    opened: Instant,
}

impl Connection {
    /// Connects from the calling thread's namespace, and asks for the name.
    ///
    /// # Errors
    /// If there is no connection, or no answer.
    pub fn open(vip: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&vip, PATIENCE)?;
        stream.set_read_timeout(Some(TIME_TO_REPEAT))?;
        let mut connection = Self {
            stream,
            name: String::new(),
            pages: 0,
            heard: Instant::now(),
            opened: Instant::now(),
        };
        connection.name = connection.ask()?;
        Ok(connection)
    }

    /// Asks for the name again, which must be the same.
    ///
    /// # Errors
    /// If the connection is broken, or somebody else answers.
    pub fn check(&mut self) -> io::Result<()> {
        let name = self.ask()?;
        if name == self.name {
            return Ok(());
        }
        Err(io::Error::other(format!("{name} took over {}", self.name)))
    }

    fn ask(&mut self) -> io::Result<String> {
        self.stream
            .write_all(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut part = [0; 1024];
        loop {
            let length = self.stream.read(&mut part)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&part[..length]);
            if let Some(name) = body(&answer) {
                self.pages += 1;
                self.heard = Instant::now();
                return Ok(name.to_owned());
            }
        }
    }
}

/// The line below the header of an answer, once it is complete.
fn body(answer: &[u8]) -> Option<&str> {
    let (_, body) = str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    body.strip_suffix('\n')
}

/// Something that went wrong.
#[derive(Debug)]
pub struct Failure {
    /// When it was tried.
    pub began: Instant,
    /// Who served it before, if anybody.
    pub server: Option<String>,
    /// What went wrong.
    pub error: io::Error,
    /// How long a connection had been silent before.
    pub silence: Duration,
    /// How long it had been open.
    pub age: Duration,
}

impl Failure {
    const fn of_nobody(began: Instant, error: io::Error) -> Self {
        Self {
            began,
            server: None,
            error,
            silence: Duration::ZERO,
            age: Duration::ZERO,
        }
    }

    /// Whether nothing was heard, rather than something wrong.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        is_lost(&self.error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.as_deref().unwrap_or("nobody");
        let [age, silence] = [self.age, self.silence].map(|time| time.as_secs_f32());
        let error = &self.error;
        write!(
            f,
            "{error} (served by {server} for {age:.1} s, silent for {silence:.1} s)"
        )
    }
}

/// Connections that stay open, each asked in turn.
#[derive(Debug)]
pub struct Held {
    /// Those that are open.
    pub open: Vec<Connection>,
    /// Those that broke.
    pub broken: Vec<Failure>,
    /// Those that could not be opened.
    pub failed: Vec<Failure>,
}

impl Held {
    /// Opens so many connections from a namespace.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub fn open(namespace: &Namespace, vip: SocketAddr, connections: usize) -> Result<Self> {
        let open = || (0..connections).map(|_| Connection::open(vip)).collect();
        Ok(Self {
            open: namespace.enter::<io::Result<_>>(open)??,
            broken: Vec::new(),
            failed: Vec::new(),
        })
    }

    /// Tries to open so many: the port of a new connection may be one that a server, which died and returned,
    /// has not forgotten, because the end of that connection went elsewhere. It answers no SYN then for a minute.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn try_open(namespace: &Namespace, vip: SocketAddr, connections: usize) -> Result<Self> {
        let mut held = Self {
            open: Vec::new(),
            broken: Vec::new(),
            failed: Vec::new(),
        };
        namespace.enter(|| {
            for _ in 0..connections {
                let began = Instant::now();
                match Connection::open(vip) {
                    Ok(connection) => held.open.push(connection),
                    Err(error) => held.failed.push(Failure::of_nobody(began, error)),
                }
            }
        })?;
        Ok(held)
    }

    /// How many connections are open to the backend of this name.
    #[must_use]
    pub fn open_to(&self, name: &str) -> usize {
        let theirs = self.open.iter().filter(|open| open.name == name);
        theirs.count()
    }
}

impl Client for Held {
    fn turn(&mut self) {
        for mut connection in std::mem::take(&mut self.open) {
            let began = Instant::now();
            match connection.check() {
                Ok(()) => self.open.push(connection),
                Err(error) => self.broken.push(Failure {
                    began,
                    server: Some(connection.name),
                    error,
                    silence: began - connection.heard,
                    age: began - connection.opened,
                }),
            }
        }
    }
}

/// Connections that are opened, asked once, and closed.
#[derive(Debug)]
pub struct Fresh {
    vip: SocketAddr,
    /// Who served those that succeeded, and when they began.
    pub served: Vec<(Instant, String)>,
    /// Those that failed.
    pub failed: Vec<Failure>,
}

impl Fresh {
    /// Will open connections to a VIP.
    #[must_use]
    pub const fn new(vip: SocketAddr) -> Self {
        Self {
            vip,
            served: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Whether the backend of this name served a connection that began at `since` or later.
    #[must_use]
    pub fn served_by(&self, name: &str, since: Instant) -> bool {
        let mut served = self.served.iter();
        served.any(|(began, server)| *began >= since && server == name)
    }
}

impl Client for Fresh {
    fn turn(&mut self) {
        let began = Instant::now();
        match Connection::open(self.vip) {
            Ok(connection) => self.served.push((began, connection.name)),
            Err(error) => self.failed.push(Failure::of_nobody(began, error)),
        }
    }
}

/// Numbered datagrams of several flows to servers that answer each with their name and what they
/// got. At most one of a flow is on its way.
#[derive(Debug)]
pub struct Datagrams {
    flows: Vec<Flow>,
    /// Datagrams that were sent.
    pub sent: u64,
    /// What went wrong: lost datagrams, and answers of another server than before.
    pub failed: Vec<Failure>,
}

/// Numbered datagrams at the pace of the turns, whether they are answered or not, to a server that says
/// what it got: every one that is lost on either way is known by its number.
#[derive(Debug)]
pub struct Stream {
    socket: UdpSocket,
    /// Whether each number came back.
    answered: Vec<bool>,
}

impl Stream {
    /// Will send from a namespace.
    ///
    /// # Errors
    /// If a socket cannot be made.
    pub fn new(namespace: &Namespace, vip: SocketAddr) -> Result<Self> {
        let socket = namespace.enter(|| udp(vip))??;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            answered: Vec::new(),
        })
    }

    fn hear(&mut self) {
        let mut answer = [0; 64];
        while let Ok(length) = self.socket.recv(&mut answer) {
            let text = String::from_utf8_lossy(&answer[..length]);
            let number = text
                .split(' ')
                .nth(1)
                .and_then(|number| number.parse().ok());
            if let Some(place) = number.and_then(|number: usize| self.answered.get_mut(number)) {
                *place = true;
            }
        }
    }

    /// How many were sent, and the numbers of those that were lost; what is under way is waited for.
    #[must_use]
    pub fn count(mut self) -> (usize, Vec<usize>) {
        let mut lost = Vec::new();
        for _ in 0..20 {
            self.hear();
            let numbers = self.answered.iter().enumerate();
            lost = numbers
                .filter_map(|(number, answered)| (!answered).then_some(number))
                .collect();
            if lost.is_empty() {
                break;
            }
            thread::sleep(PATIENCE / 20);
        }
        (self.answered.len(), lost)
    }
}

impl Client for Stream {
    fn turn(&mut self) {
        let number = self.answered.len().to_string();
        // What the kernel does not send is missed as what is lost.
        self.answered.push(false);
        let _sent = self.socket.send(number.as_bytes());
        self.hear();
    }
}

#[derive(Debug)]
struct Flow {
    socket: UdpSocket,
    server: Option<String>,
}

impl Datagrams {
    /// Will send datagrams of so many flows from a namespace.
    ///
    /// # Errors
    /// If a socket cannot be made.
    pub fn new(namespace: &Namespace, vip: SocketAddr, flows: usize) -> Result<Self> {
        let open = || (0..flows).map(|_| Flow::open(vip)).collect();
        Ok(Self {
            flows: namespace.enter::<io::Result<_>>(open)??,
            sent: 0,
            failed: Vec::new(),
        })
    }

    /// Names of the servers that have answered, each once, in order.
    #[must_use]
    pub fn servers(&self) -> Vec<&str> {
        let servers = self.flows.iter().filter_map(|flow| flow.server.as_deref());
        let mut servers: Vec<_> = servers.collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }
}

impl Client for Datagrams {
    fn turn(&mut self) {
        for flow in &mut self.flows {
            let began = Instant::now();
            self.sent += 1;
            if let Err(error) = flow.ask(self.sent) {
                self.failed.push(Failure {
                    server: flow.server.clone(),
                    ..Failure::of_nobody(began, error)
                });
            }
        }
    }
}

impl Flow {
    fn open(vip: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            socket: udp(vip)?,
            server: None,
        })
    }

    fn ask(&mut self, number: u64) -> io::Result<()> {
        let server = ask_udp(&self.socket, number.to_string().as_bytes())?;
        let before = self.server.get_or_insert_with(|| server.clone());
        if *before == server {
            return Ok(());
        }
        Err(io::Error::other(format!("{server} took over {before}")))
    }
}

/// A UDP socket in the calling thread's namespace that hears nobody but `peer`.
///
/// # Errors
/// If it cannot be made.
pub fn udp(peer: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(match peer {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    })?;
    socket.connect(peer)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Asks a [`crate::servers::UdpNames`] for its name, and whether all of the question arrived.
///
/// # Errors
/// If there is no answer, or one to another question.
pub fn ask_udp(socket: &UdpSocket, question: &[u8]) -> io::Result<String> {
    socket.send(question)?;
    let mut answer = vec![0; 1 << 16];
    let length = socket.recv(&mut answer)?;
    let mut parts = answer[..length].splitn(2, |byte| *byte == b' ');
    match (parts.next(), parts.next()) {
        (Some(name), Some(heard)) if heard == question => {
            Ok(String::from_utf8_lossy(name).into_owned())
        }
        _ => Err(io::Error::other("an answer to another question")),
    }
}

/// Asks again until there is an answer. A datagram that is too long for the way is lost; what is said
/// of that lets the next one fit.
///
/// # Errors
/// As [`ask_udp`], if nothing is heard for long.
pub fn ask_udp_until_answered(socket: &UdpSocket, question: &[u8]) -> io::Result<String> {
    socket.set_read_timeout(Some(PATIENCE / 5))?;
    for _ in 0..10 {
        match ask_udp(socket, question) {
            Err(error) if is_lost(&error) => {}
            answer => return answer,
        }
    }
    ask_udp(socket, question)
}

fn is_lost(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// The bytes of a datagram that fit a link of 1,500 bytes.
#[must_use]
pub const fn room(family: Family) -> usize {
    let udp = 8;
    match family {
        Family::V4 => 1500 - 20 - udp,
        Family::V6 => 1500 - 40 - udp,
    }
}
