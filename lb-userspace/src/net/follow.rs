//! Follows the kernel: a [`View`] that is always up to date, and neighbours that stay resolved.
//!
//! A notice of the kernel says only that something changed; what it is is then read anew. So nothing
//! depends on the kernel telling every change (it does not: IPv4 routes vanish with their link) or on
//! the order of notices, and a lost one (`ENOBUFS`) is like any other.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until},
};
use tracing::{debug, warn};

use super::{
    View,
    kernel::{Kernel, Notice, Notices},
    view::Neighbour,
};

/// A burst of notices is waited for this long.
const COALESCE: Duration = Duration::from_millis(4);
/// A pause after reading, as a multiple of the time that reading took: large tables must not keep a
/// processor busy.
const PAUSE: u32 = 4;
/// Neighbours that are not resolved are asked for again.
const RETRY: Duration = Duration::from_secs(1);
/// Every so many retries all neighbours are asked for and everything is read.
const RETRIES_TO_REFRESH: u32 = 30;
/// One neighbour is not doubted more often: a backend that fails its probe may well be there, and
/// each doubt asks it once more. The kernel gives up on a silent one after three seconds
/// (`ucast_solicit`).
const REPROBE: Duration = Duration::from_secs(10);
/// A wait before lost sockets are opened again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Why the network cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A dump or request failed.
    #[error("the kernel's answer over rtnetlink is no use")]
    Netlink(#[from] rtnetlink::Error),
    /// A socket could not be opened.
    #[error("cannot open an rtnetlink socket")]
    Socket(#[from] io::Error),
}

/// Follows the network of the process's namespace. Dropped, it stops; neighbours stay as they are,
/// kept resolved by the kernel.
#[derive(Debug)]
pub struct Follower {
    view: watch::Receiver<Arc<View>>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Command {
    Keep(BTreeSet<(u32, IpAddr)>),
    Reprobe(IpAddr),
}

impl Follower {
    /// Reads everything once and follows it from then on.
    ///
    /// # Errors
    /// When a socket cannot be opened or the first dump fails.
    pub async fn start() -> Result<Self, Error> {
        let session = Session::open()?;
        let mut view = View::default();
        session.read(&mut view, Dirty::EVERYTHING).await?;
        let (publish, view) = watch::channel(Arc::new(view));
        let (commands, orders) = mpsc::unbounded_channel();
        let worker = Worker {
            publish,
            orders,
            kept: BTreeSet::new(),
            doubted: HashMap::new(),
            ticks: 0,
        };
        Ok(Self {
            view,
            commands,
            task: tokio::spawn(worker.run(session)),
        })
    }

    /// The network as it is.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Tells each change of the [`View`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Makes these (link, address) the neighbours that are kept resolved without traffic; others are
    /// left to the kernel. [`View::neighbours_towards`] and [`View::gateways`] name them.
    pub fn keep_resolved(&self, neighbours: BTreeSet<(u32, IpAddr)>) {
        self.order(Command::Keep(neighbours));
    }

    /// Where doubts about neighbours are told; lives on its own.
    #[must_use]
    pub fn doubts(&self) -> Doubts {
        Doubts(self.commands.clone())
    }

    fn order(&self, command: Command) {
        if self.commands.send(command).is_err() {
            warn!("nobody follows the network: the task has ended");
        }
    }
}

/// Has neighbours asked for anew.
#[derive(Clone, Debug)]
pub struct Doubts(mpsc::UnboundedSender<Command>);

impl Doubts {
    /// Doubts the neighbours that packets to `destination` leave by. For a backend that fails its
    /// probe: a neighbour that changed its MAC address in silence is believed for a long time. One
    /// that answers stays usable all the while; one that does not is looked up anew after some
    /// seconds.
    pub fn reprobe(&self, destination: IpAddr) {
        // At the end there is nobody any more.
        drop(self.0.send(Command::Reprobe(destination)));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What must be read anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Dirty {
    neighbours: bool,
    routing: bool,
}

impl Dirty {
    const EVERYTHING: Self = Self {
        neighbours: true,
        routing: true,
    };

    const fn mark(&mut self, notice: Notice) {
        match notice {
            Notice::Everything => *self = Self::EVERYTHING,
            Notice::Neighbours => self.neighbours = true,
            Notice::Routing => self.routing = true,
        }
    }

    const fn any(self) -> bool {
        self.neighbours || self.routing
    }
}

/// Both sockets.
struct Session {
    // Opened first: what changes between subscription and dump is told afterwards.
    notices: Notices,
    kernel: Kernel,
}

impl Session {
    fn open() -> io::Result<Self> {
        Ok(Self {
            notices: Notices::subscribe()?,
            kernel: Kernel::connect()?,
        })
    }

    async fn read(&self, view: &mut View, dirty: Dirty) -> Result<(), rtnetlink::Error> {
        if dirty.routing {
            view.links = self.kernel.links().await?;
            view.addresses = self.kernel.addresses().await?;
            view.routes = self.kernel.routes().await?;
        }
        if dirty.neighbours {
            view.neighbours = self.kernel.neighbours().await?;
        }
        Ok(())
    }
}

/// The follower's task.
struct Worker {
    publish: watch::Sender<Arc<View>>,
    orders: mpsc::UnboundedReceiver<Command>,
    kept: BTreeSet<(u32, IpAddr)>,
    doubted: HashMap<(u32, IpAddr), Instant>,
    ticks: u32,
}

impl Worker {
    async fn run(mut self, mut session: Session) {
        while self.follow(&mut session).await.is_some() {
            warn!("an rtnetlink socket is lost; opening it again");
            session = Self::reopen().await;
        }
    }

    async fn reopen() -> Session {
        loop {
            sleep(RECONNECT).await;
            match Session::open() {
                Ok(session) => return session,
                Err(error) => warn!(%error, "cannot open an rtnetlink socket"),
            }
        }
    }

    /// Ends with `Some` when the socket is lost, with `None` when nobody listens.
    async fn follow(&mut self, session: &mut Session) -> Option<()> {
        let mut dirty = Dirty::EVERYTHING;
        let mut due = Instant::now();
        let mut rested = due;
        let mut tick = ticks();
        loop {
            tokio::select! {
                notice = session.notices.next() => {
                    let Some(notice) = notice else { return Some(()) };
                    if !dirty.any() {
                        due = rested.max(Instant::now() + COALESCE);
                    }
                    dirty.mark(notice);
                }
                () = sleep_until(due), if dirty.any() => {
                    let begun = Instant::now();
                    dirty = self.refresh(session, dirty).await;
                    rested = Instant::now() + begun.elapsed() * PAUSE;
                    due = rested.max(Instant::now() + COALESCE);
                }
                order = self.orders.recv() => self.obey(&session.kernel, order?).await,
                _ = tick.tick() => {
                    if self.retry(&session.kernel).await {
                        dirty = Dirty::EVERYTHING;
                    }
                }
            }
        }
    }

    /// Reads what is dirty; returns what is still to be read.
    async fn refresh(&self, session: &Session, dirty: Dirty) -> Dirty {
        let mut view = View::clone(&self.publish.borrow());
        if let Err(error) = session.read(&mut view, dirty).await {
            // A dump that is interrupted by a change is repeated.
            debug!(%error, "cannot read the network");
            return dirty;
        }
        self.publish.send_if_modified(|known| {
            let changed = **known != view;
            if changed {
                *known = Arc::new(view);
            }
            changed
        });
        Dirty::default()
    }

    async fn obey(&mut self, kernel: &Kernel, command: Command) {
        match command {
            Command::Keep(neighbours) => self.keep(kernel, neighbours).await,
            Command::Reprobe(destination) => self.reprobe(kernel, destination).await,
        }
    }

    async fn keep(&mut self, kernel: &Kernel, neighbours: BTreeSet<(u32, IpAddr)>) {
        let before = std::mem::replace(&mut self.kept, neighbours);
        for &(ifindex, address) in self.kept.difference(&before) {
            if !self.is_fixed(ifindex, address) {
                note(kernel.keep(ifindex, address).await, address);
            }
        }
        for &(ifindex, address) in before.difference(&self.kept) {
            if matches!(self.known(ifindex, address), Some(Neighbour::Resolved(_))) {
                note(kernel.release(ifindex, address).await, address);
            }
        }
    }

    async fn reprobe(&mut self, kernel: &Kernel, destination: IpAddr) {
        let now = Instant::now();
        self.doubted.retain(|_, at| now - *at < REPROBE);
        let view = Arc::clone(&self.publish.borrow());
        for (ifindex, address) in view.neighbours_towards(destination) {
            let Some(Neighbour::Resolved(mac)) = self.known(ifindex, address) else {
                continue;
            };
            if self.doubted.insert((ifindex, address), now).is_none() {
                note(kernel.probe(ifindex, address, mac).await, address);
            }
        }
    }

    /// Asks again for neighbours; whether it is time to read everything.
    async fn retry(&mut self, kernel: &Kernel) -> bool {
        self.ticks = self.ticks.wrapping_add(1);
        let all = self.ticks.is_multiple_of(RETRIES_TO_REFRESH);
        for &(ifindex, address) in &self.kept {
            let ask = match self.known(ifindex, address) {
                Some(Neighbour::Fixed(_)) => false,
                Some(Neighbour::Resolved(_)) => all,
                Some(Neighbour::Unresolved) | None => true,
            };
            if ask {
                note(kernel.keep(ifindex, address).await, address);
            }
        }
        all
    }

    /// A request would take such an entry's permanence away.
    fn is_fixed(&self, ifindex: u32, address: IpAddr) -> bool {
        matches!(self.known(ifindex, address), Some(Neighbour::Fixed(_)))
    }

    fn known(&self, ifindex: u32, address: IpAddr) -> Option<Neighbour> {
        let view = self.publish.borrow();
        view.neighbours.get(&(ifindex, address)).copied()
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(RETRY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A request may fail because its link has just gone; the next tick tries again.
fn note(result: Result<(), rtnetlink::Error>, address: IpAddr) {
    if let Err(error) = result {
        debug!(%error, %address, "the kernel refused a request about a neighbour");
    }
}

#[cfg(test)]
mod tests;
