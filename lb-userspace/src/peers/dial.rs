//! Tells a peer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    time::{Instant, interval, sleep, timeout},
};

use super::{
    Event, Shared, Told,
    backoff::Backoff,
    fault::Fault,
    frame::Frame,
    secure::{Ear, Mouth, Side, shake_hands},
    talk::{Answer, Talk},
};

/// How long connecting, the handshake, or taking a frame may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// News that waits for a peer; more, and it starts anew.
const QUEUE: usize = 256;

/// Calls a peer, again and again.
pub(super) async fn run(peer: SocketAddr, shared: Arc<Shared>) {
    let mut backoff = Backoff::new();
    loop {
        let began = Instant::now();
        let Err(fault) = call(peer, &shared).await;
        shared.board.tells_no_more(peer, &fault);
        if began.elapsed() > PATIENCE * 2 {
            backoff.reset();
        }
        sleep(backoff.next(random())).await;
    }
}

/// 0 to 1: the clock's last digits, which differ between hosts.
fn random() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.subsec_nanos());
    f64::from(nanos % 1000) / 1000.0
}

enum Never {}

async fn call(peer: SocketAddr, shared: &Shared) -> Result<Never, Fault> {
    let stream = within(connect(peer, shared.settings.listen)).await?;
    let (mut mouth, mut ear) =
        within(shake_hands(stream, Side::Dials, &shared.settings.key)).await?;
    within(mouth.say(&shared.hello())).await?;
    let (listen, name) = shared.greeted(within(ear.hear()).await?)?;
    if listen != peer {
        return Err(Fault::UnknownPeer(listen));
    }
    shared.board.tells(peer, name);
    let (heard, answers) = mpsc::channel(16);
    let teller = Teller {
        peer,
        shared,
        talk: Talk::default(),
        mouth,
    };
    tokio::select! {
        fault = hear(ear, heard) => fault,
        fault = teller.run(answers) => fault,
    }
}

/// From the address that the peer knows this balancer by.
async fn connect(peer: SocketAddr, listen: SocketAddr) -> Result<TcpStream, Fault> {
    let socket = match peer {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(listen.ip(), 0))?;
    let stream = socket.connect(peer).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn within<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(PATIENCE, work)
        .await
        .map_err(|_elapsed| Fault::Silent)?
}

async fn hear(mut ear: Ear<TcpStream>, heard: mpsc::Sender<Frame>) -> Result<Never, Fault> {
    loop {
        let frame = ear.hear().await?;
        if heard.send(frame).await.is_err() {
            return Err(Fault::Silent);
        }
    }
}

struct Teller<'s> {
    peer: SocketAddr,
    shared: &'s Shared,
    talk: Talk,
    mouth: Mouth<TcpStream>,
}

impl Teller<'_> {
    async fn run(mut self, mut answers: mpsc::Receiver<Frame>) -> Result<Never, Fault> {
        let mut checks = interval(Duration::from_millis(250));
        let mut news: Option<mpsc::Receiver<Arc<Told>>> = None;
        loop {
            let next = async {
                match &mut news {
                    Some(news) => news.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(frame) = answers.recv() => match self.talk.answered(&frame, Instant::now())? {
                    Answer::Want => news = Some(self.ask().await),
                    Answer::Lag(lag) => self.shared.board.lag(self.peer, lag),
                },
                told = next => match told {
                    Some(told) => self.tell(&told).await?,
                    // The daemon's loop does not wait for those who do not keep up.
                    None => return Err(Fault::Slow),
                },
                _ = checks.tick() => self.check()?,
            }
        }
    }

    /// Has the daemon's loop tell everything, and what comes then.
    async fn ask(&self) -> mpsc::Receiver<Arc<Told>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let event = Event::Asks {
            peer: self.peer,
            news: sender,
        };
        // Without a loop the daemon ends.
        drop(self.shared.events.send(event).await);
        receiver
    }

    async fn tell(&mut self, told: &Told) -> Result<(), Fault> {
        let Told { news, since } = told;
        for frame in self.talk.tell(news, *since, Instant::now()) {
            let said = timeout(PATIENCE, self.mouth.say(&frame)).await;
            said.map_err(|_elapsed| Fault::Slow)??;
        }
        self.shared.board.sent(self.peer, news.entries());
        Ok(())
    }

    fn check(&self) -> Result<(), Fault> {
        let now = Instant::now();
        if self.talk.is_given_up(now) {
            return Err(Fault::Slow);
        }
        if let Some(waits) = self.talk.waits(now) {
            self.shared.board.lag(self.peer, waits);
        }
        Ok(())
    }
}
