//! Several balancers with the same file, behind a router that spreads flows over them: each tells the others
//! what they cannot know, of rows that move and of flows that are tracked, so that a flow that arrives at
//! another balancer than before still reaches its backend.
//!
//! ```text
//! data path ─► look (20 times a second) ─► News ─► a task for each peer ─► TCP, Noise ─► the peer's
//!                                                  listener ─► News ─► its loop ─► its data path
//! ```
//!
//! Each balancer calls every other one and tells; what it hears comes by the connections that others made.
//! A balancer that begins asks for everything that is known once its own probes have all ended.
//!
//! * `news`: what is told. `frame`: as bytes. `secure`: for holders of the key only.
//! * `talk`, `hearing`: both ends of a conversation, without clock and socket. `agreement`: whether slot
//!   tables are the same.
//! * `dial`, `accept`: the tasks. `board`: what there is to see of them.

mod accept;
mod agreement;
mod backoff;
pub mod board;
mod dial;
mod fault;
mod frame;
mod hearing;
mod key;
pub mod news;
mod secure;
mod talk;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

pub use self::{
    agreement::{Agreement, Verdict},
    board::Board,
    fault::Fault,
    frame::{Frame, Malformed},
    key::{Key, KeyError},
    news::{FlowNews, Left, News, Owner, RowNews, TableNews, Taken},
};

/// What the tasks need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where this balancer listens: who it is.
    pub listen: SocketAddr,
    /// The other balancers.
    pub others: Vec<SocketAddr>,
    /// The key that all of them have.
    pub key: Key,
    /// Tells balancers with another `hash_seed` apart.
    pub seed: u64,
    /// What this instance is called.
    pub name: String,
}

/// What peers want of the daemon's loop.
#[derive(Debug)]
pub enum Event {
    /// To be told everything, and then news.
    Asks {
        /// Who asks.
        peer: SocketAddr,
        /// Where it is told.
        news: mpsc::Sender<Arc<Told>>,
    },
    /// That news is taken over.
    Tells {
        /// Who tells.
        peer: SocketAddr,
        /// What.
        news: News,
        /// To be told when that is done.
        done: oneshot::Sender<()>,
    },
}

/// News on its way to peers.
#[derive(Debug)]
pub struct Told {
    /// The news.
    pub news: News,
    /// When the oldest of it may have come up.
    pub since: Instant,
}

/// What every task of the peers has.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    board: Board,
    events: mpsc::Sender<Event>,
    ready: watch::Receiver<bool>,
}

impl Shared {
    fn hello(&self) -> Frame {
        let Settings {
            listen, seed, name, ..
        } = &self.settings;
        Frame::Hello {
            listen: *listen,
            seed: *seed,
            name: name.clone(),
        }
    }

    /// Who greets, and what it is called.
    fn greeted(&self, frame: Frame) -> Result<(SocketAddr, String), Fault> {
        match frame {
            Frame::Hello { seed, .. } if seed != self.settings.seed => Err(Fault::OtherSeed),
            Frame::Hello { listen, name, .. } => Ok((listen, name)),
            _ => Err(Fault::OutOfPlace("a greeting comes first")),
        }
    }
}

/// The tasks; they end when this is dropped.
#[derive(Debug)]
pub struct Peers {
    settings: Settings,
    _tasks: JoinSet<()>,
}

impl Peers {
    /// Calls and hears peers.
    #[must_use]
    pub fn start(
        settings: Settings,
        board: &Board,
        events: mpsc::Sender<Event>,
        ready: watch::Receiver<bool>,
    ) -> Self {
        board.follow(&settings.others);
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            board: board.clone(),
            events,
            ready,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept::run(Arc::clone(&shared)));
        for peer in &settings.others {
            tasks.spawn(dial::run(*peer, Arc::clone(&shared)));
        }
        Self {
            settings,
            _tasks: tasks,
        }
    }

    /// What they were started with.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }
}
