//! Peers over real connections, on loopback.

use std::time::Duration;

use tokio::{net::TcpStream, sync::watch, time::sleep};

use super::{
    secure::{Side, shake_hands},
    *,
};

/// One of three hosts that loopback has.
fn at(host: u8, port: u16) -> SocketAddr {
    ([127, 0, 0, host], port).into()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(at(1, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn settings(host: u8, other: u8, port: u16) -> Settings {
    Settings {
        listen: at(host, port),
        others: vec![at(other, port)],
        key: Key([7; 32]),
        seed: 1,
        name: format!("host-{host}"),
    }
}

/// A balancer without a data path.
struct Host {
    board: Board,
    events: mpsc::Receiver<Event>,
    _ready: watch::Sender<bool>,
    _peers: Peers,
}

impl Host {
    fn start(settings: Settings) -> Self {
        let (board, (sender, events)) = (Board::default(), mpsc::channel(4));
        let (ready, is_ready) = watch::channel(true);
        Self {
            _peers: Peers::start(settings, &board, sender, is_ready),
            board,
            events,
            _ready: ready,
        }
    }

    fn refused(&self, label: &str) -> u64 {
        let refused = self.board.read().refused;
        refused.get(label).copied().unwrap_or(0)
    }

    async fn asked(&mut self) -> mpsc::Sender<Arc<Told>> {
        loop {
            match self.events.recv().await.unwrap() {
                Event::Asks { news, .. } => return news,
                Event::Tells { done, .. } => done.send(()).unwrap(),
            }
        }
    }

    async fn told(&mut self) -> (SocketAddr, News) {
        loop {
            if let Event::Tells { peer, news, done } = self.events.recv().await.unwrap() {
                done.send(()).unwrap();
                return (peer, news);
            }
        }
    }
}

async fn eventually(what: &str, check: impl Fn() -> bool) {
    for _ in 0..1000 {
        if check() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("not in time: {what}");
}

fn news(flows: u64) -> News {
    let flow = |hash| FlowNews {
        owner: 0,
        hash,
        age: 1,
        closing: false,
    };
    News {
        owners: vec![Owner {
            vip: "203.0.113.10:80/tcp".parse().unwrap(),
            address: at(1, 80),
        }],
        flows: (0..flows).map(flow).collect(),
        ..News::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancers_tell_each_other_and_begin_anew_with_who_does_not_keep_up() {
    let port = free_port();
    let mut one = Host::start(settings(1, 2, port));
    let mut two = Host::start(settings(2, 1, port));
    let told = Arc::new(Told {
        news: news(20_000),
        since: Instant::now(),
    });
    let listener = one.asked().await;
    listener.try_send(Arc::clone(&told)).unwrap();
    let mut flows = Vec::new();
    while flows.len() < told.news.flows.len() {
        let (peer, news) = two.told().await;
        assert_eq!(peer, at(1, port));
        assert_eq!(news.owners, told.news.owners);
        flows.extend(news.flows);
    }
    assert_eq!(flows, told.news.flows);
    let peer = |host: &Host, other| host.board.read().peers[&at(other, port)].clone();
    eventually("the news is taken", || {
        peer(&one, 2).lag.is_some() && peer(&one, 2).sent == 20_000
    })
    .await;
    assert_eq!(peer(&one, 2).name.as_deref(), Some("host-2"));
    assert!(peer(&two, 1).heard_since.is_some());

    // As the loop does with a queue that is full.
    drop(listener);
    let again = one.asked().await;
    assert!(one.refused("slow") > 0);
    again.try_send(told).unwrap();
    assert!(!two.told().await.1.flows.is_empty());
}

/// What somebody with the key says after the greeting.
async fn call(port: u16, hello: Frame, frames: &[Frame]) -> Result<(), Fault> {
    let stream = TcpStream::connect(at(1, port)).await?;
    let (mut mouth, mut ear) = shake_hands(stream, Side::Dials, &Key([7; 32])).await?;
    mouth.say(&hello).await?;
    for frame in frames {
        mouth.say(frame).await?;
    }
    // Until the other end has had enough.
    loop {
        ear.hear().await?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_are_turned_away_for_a_reason_that_is_counted() {
    let port = free_port();
    let host = Host::start(settings(1, 2, port));
    eventually("it listens", || {
        std::net::TcpStream::connect(at(1, port)).is_ok()
    })
    .await;
    let hello = |listen, seed| Frame::Hello {
        listen: at(listen, port),
        seed,
        name: String::new(),
    };
    let mark = Frame::Mark {
        sequence: 5,
        tables: false,
        completes: false,
    };
    for (label, hello, frames) in [
        ("unknown_peer", hello(3, 1), vec![]),
        ("other_seed", hello(2, 2), vec![]),
        ("malformed", hello(2, 1), vec![mark]),
        ("malformed", hello(2, 1), vec![Frame::Want]),
        ("malformed", Frame::Want, vec![]),
    ] {
        let before = host.refused(label);
        call(port, hello, &frames).await.unwrap_err();
        eventually(label, || host.refused(label) == before + 1).await;
    }

    // Those who say nothing wait in vain, and keep others from waiting with them.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(at(1, port)).await.unwrap());
    }
    eventually("too many", || host.refused("too_many") > 0).await;
    eventually("silent", || host.refused("silent") > 0).await;
}
