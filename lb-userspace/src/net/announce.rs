//! Says which addresses this host takes, by routes in a table of the kernel's that routing software announces.
//!
//! The routes are black holes: nothing is sent by them, and only what looks into that table meets them. They
//! bear a mark, by which they are told from others' and found again by the next daemon. Whatever else bears it
//! in that table is taken out, and what somebody took out is put back.
//!
//! They stay when the process ends, as the data path does.

mod diff;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tracing::{info, warn};

pub(in crate::net) use self::diff::Marked;
use self::diff::{Change, diff};
use super::kernel::{Kernel, Notice, Notices};

/// A burst of notices is waited for this long.
const COALESCE: Duration = Duration::from_millis(4);
/// A pause after reading, as a multiple of the time that reading took: routing software may change a million
/// routes, and the kernel tells of each.
const PAUSE: u32 = 4;
/// What failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// The table is read this often whatever is told.
const REFRESH: Duration = Duration::from_secs(30);

/// What tells xlb's routes from others': a table, and a number in it (`rtm_protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The table's number.
    pub table: u32,
    /// The number of who made a route.
    pub protocol: u8,
}

/// What is to be announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where, and with which metric; `None`: nothing is.
    pub place: Option<(Mark, u32)>,
    /// Which addresses.
    pub addresses: BTreeSet<IpAddr>,
}

impl Wanted {
    fn routes(&self, mark: Mark) -> BTreeSet<Marked> {
        let Some((_, metric)) = self.place.filter(|(place, _)| *place == mark) else {
            return BTreeSet::new();
        };
        let addresses = self.addresses.iter();
        addresses
            .map(|address| Marked::announces(*address, metric))
            .collect()
    }

    fn mark(&self) -> Option<Mark> {
        self.place.map(|(mark, _)| mark)
    }
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Addresses that have their route, and since when: as far as this process knows.
    pub announced: BTreeMap<IpAddr, SystemTime>,
    /// Where routes of xlb's may be.
    pub marks: BTreeSet<Mark>,
    /// What keeps it from being as it should.
    pub problem: Option<String>,
    /// What was wanted when that was found.
    order: u64,
}

/// Why routes cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket could not be opened.
    #[error("cannot open an rtnetlink socket")]
    Socket(#[from] io::Error),
    /// The kernel does not tell its routes.
    #[error("cannot read the routes of table {table}")]
    Read {
        /// Which table.
        table: u32,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// Somebody else's route is there.
    #[error(
        "table {table} has another route to {prefix} with metric {metric}: remove it, or name another \
         `table` in `announce:`"
    )]
    Taken {
        /// Which table.
        table: u32,
        /// Where it leads.
        prefix: IpNet,
        /// Its metric.
        metric: u32,
    },
    /// The kernel refuses a route.
    #[error("cannot {what} the route to {prefix} in table {table}")]
    Write {
        /// Add or remove.
        what: &'static str,
        /// Which table.
        table: u32,
        /// Where it leads.
        prefix: IpNet,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
}

/// Addresses that routes with these marks announce.
///
/// # Errors
/// Where they cannot be read.
pub async fn announced(marks: &BTreeSet<Mark>) -> Result<BTreeSet<IpAddr>, Error> {
    let mut addresses = BTreeSet::new();
    if marks.is_empty() {
        return Ok(addresses);
    }
    let kernel = Kernel::connect()?;
    for mark in marks {
        let found = read(&kernel, *mark).await?;
        addresses.extend(found.iter().filter_map(host));
    }
    Ok(addresses)
}

/// Removes all routes with these marks; the addresses that they announced.
///
/// # Errors
/// Where one cannot be removed.
pub async fn withdraw(marks: &BTreeSet<Mark>) -> Result<BTreeSet<IpAddr>, Error> {
    let withdrawn = announced(marks).await?;
    if withdrawn.is_empty() {
        return Ok(withdrawn);
    }
    let kernel = Kernel::connect()?;
    for mark in marks {
        for route in read(&kernel, *mark).await? {
            write(&kernel, *mark, Change::Remove(route)).await?;
        }
    }
    Ok(withdrawn)
}

/// The address that a route announces.
fn host(route: &Marked) -> Option<IpAddr> {
    let is_host = route.prefix.prefix_len() == route.prefix.max_prefix_len();
    (route.is_blackhole && is_host).then(|| route.prefix.addr())
}

async fn read(kernel: &Kernel, mark: Mark) -> Result<BTreeSet<Marked>, Error> {
    let table = mark.table;
    let routes = kernel.marked(mark).await;
    routes.map_err(|source| Error::Read { table, source })
}

async fn write(kernel: &Kernel, mark: Mark, change: Change) -> Result<(), Error> {
    let (what, route, done) = match change {
        Change::Add(route) => ("add", route, kernel.announce(mark, route).await),
        Change::Remove(route) => ("remove", route, kernel.withdraw(mark, route).await),
    };
    let (table, prefix, metric) = (mark.table, route.prefix, route.metric);
    match done {
        Err(source) if Kernel::says_it_exists(&source) => Err(Error::Taken {
            table,
            prefix,
            metric,
        }),
        // Another one was faster.
        Err(source) if Kernel::says_it_is_gone(&source) => Ok(()),
        done => done.map_err(|source| Error::Write {
            what,
            table,
            prefix,
            source,
        }),
    }
}

/// Keeps the routes as they are wanted. Dropped, it stops; the routes stay.
#[derive(Debug)]
pub struct Announcer {
    orders: watch::Sender<Order>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Order {
    number: u64,
    wanted: Wanted,
}

impl Announcer {
    /// Starts; what has one of `marks` and is not wanted is removed.
    #[must_use]
    pub fn start(marks: BTreeSet<Mark>, wanted: Wanted) -> Self {
        let (orders, received) = watch::channel(Order { number: 1, wanted });
        let (publish, progress) = watch::channel(Progress {
            marks,
            ..Progress::default()
        });
        let worker = Worker {
            orders: received,
            publish,
        };
        Self {
            orders,
            progress,
            task: tokio::spawn(worker.run()),
        }
    }

    /// Wants this from now on.
    pub fn want(&self, wanted: Wanted) {
        self.orders.send_if_modified(|order| {
            let differs = order.wanted != wanted;
            if differs {
                order.number += 1;
                order.wanted = wanted;
            }
            differs
        });
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until what is wanted was tried, and tells how far it is then.
    pub async fn settled(&self) -> Progress {
        let number = self.orders.borrow().number;
        let mut progress = self.progress.clone();
        let tried = progress.wait_for(|progress| progress.order >= number).await;
        tried.map_or_else(|_ended| self.progress(), |progress| progress.clone())
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The announcer's task.
struct Worker {
    orders: watch::Receiver<Order>,
    publish: watch::Sender<Progress>,
}

/// Both sockets.
struct Session {
    // Opened first: what changes between subscription and reading is told afterwards.
    notices: Notices,
    kernel: Kernel,
}

impl Session {
    fn open() -> Result<Self, Error> {
        Ok(Self {
            notices: Notices::subscribe()?,
            kernel: Kernel::connect()?,
        })
    }
}

/// Why routes are not looked after any more.
enum End {
    /// There are none.
    Idle,
    /// Nobody gives orders.
    Alone,
    /// A socket is lost.
    Lost,
}

impl Worker {
    /// Without anything to announce or to remove it has no sockets: the kernel tells of every route.
    async fn run(mut self) {
        loop {
            if self.is_idle() {
                self.say_it_is_done();
                if self.orders.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match Session::open() {
                Ok(session) => match self.follow(session).await {
                    End::Idle => {}
                    End::Alone => return,
                    End::Lost => {
                        warn!("an rtnetlink socket is lost; opening it again");
                        sleep(RETRY).await;
                    }
                },
                Err(error) => {
                    self.stumble(&error);
                    sleep(RETRY).await;
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.orders.borrow().wanted.place.is_none() && self.publish.borrow().marks.is_empty()
    }

    fn say_it_is_done(&mut self) {
        let order = self.orders.borrow_and_update().number;
        self.publish.send_replace(Progress {
            order,
            ..Progress::default()
        });
    }

    /// Keeps the routes as they are wanted.
    async fn follow(&mut self, mut session: Session) -> End {
        let mut due = Some(Instant::now());
        let mut rested = Instant::now();
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_idle() {
            tokio::select! {
                notice = session.notices.next() => match notice {
                    None => return End::Lost,
                    Some(Notice::Neighbours) => {}
                    Some(Notice::Everything | Notice::Routing) => {
                        due.get_or_insert_with(|| rested.max(Instant::now() + COALESCE));
                    }
                },
                ordered = self.orders.changed() => match ordered {
                    Ok(()) => due = Some(Instant::now()),
                    Err(_) => return End::Alone,
                },
                () = sleep_until(due.unwrap_or(rested)), if due.is_some() => {
                    let begun = Instant::now();
                    let is_well = self.reconcile(&session.kernel).await;
                    rested = Instant::now() + begun.elapsed() * PAUSE;
                    due = (!is_well).then(|| Instant::now() + RETRY);
                }
                _ = refresh.tick() => due = due.or_else(|| Some(Instant::now())),
            }
        }
        End::Idle
    }

    /// Makes the routes what they should be; whether they are.
    async fn reconcile(&mut self, kernel: &Kernel) -> bool {
        let order = self.orders.borrow_and_update().clone();
        let before = self.publish.borrow().clone();
        let mut marks = before.marks;
        marks.extend(order.wanted.mark());
        let mut attempt = Attempt {
            is_repair: before.order == order.number && before.problem.is_none(),
            announced: before.announced,
            problem: None,
        };
        // What is wanted comes before what is not is gone.
        if let Some(mark) = order.wanted.mark() {
            attempt.reconcile(kernel, mark, &order.wanted).await;
        } else {
            attempt.announced.clear();
        }
        let others = marks
            .iter()
            .filter(|mark| order.wanted.mark() != Some(**mark));
        for mark in others.copied().collect::<Vec<_>>() {
            if attempt.reconcile(kernel, mark, &order.wanted).await {
                marks.remove(&mark);
            }
        }
        let Attempt {
            announced, problem, ..
        } = attempt;
        say(problem.as_deref(), before.problem.as_deref());
        let is_well = problem.is_none();
        self.publish.send_replace(Progress {
            announced,
            marks,
            problem,
            order: order.number,
        });
        is_well
    }

    fn stumble(&mut self, error: &Error) {
        let order = self.orders.borrow_and_update().number;
        let problem = chain(error);
        say(Some(&problem), self.publish.borrow().problem.as_deref());
        self.publish.send_modify(|progress| {
            progress.order = order;
            progress.problem = Some(problem);
        });
    }
}

/// One look at the tables, and what was done about it.
struct Attempt {
    /// Whether nothing else was wanted than before.
    is_repair: bool,
    announced: BTreeMap<IpAddr, SystemTime>,
    /// The first of what went wrong.
    problem: Option<String>,
}

impl Attempt {
    /// Makes the routes of one mark what they should be; whether they are. One that cannot be written does
    /// not keep the others.
    async fn reconcile(&mut self, kernel: &Kernel, mark: Mark, wanted: &Wanted) -> bool {
        let routes = wanted.routes(mark);
        let found = match read(kernel, mark).await {
            Ok(found) => found,
            Err(error) => return self.fail(&error),
        };
        if wanted.mark() == Some(mark) {
            let there = routes.intersection(&found).map(|route| route.prefix.addr());
            let since = |address| {
                let before = self.announced.get(&address).copied();
                (address, before.unwrap_or_else(SystemTime::now))
            };
            self.announced = there.map(since).collect();
        }
        let mut is_done = true;
        for change in diff(&routes, &found) {
            is_done &= match write(kernel, mark, change).await {
                Ok(()) => self.note(mark, change),
                Err(error) => self.fail(&error),
            };
        }
        is_done
    }

    fn note(&mut self, mark: Mark, change: Change) -> bool {
        let table = mark.table;
        let (Change::Add(route) | Change::Remove(route)) = change;
        if self.is_repair {
            warn!(route = %route.prefix, table, "somebody changed the routes of VIPs: put right");
        }
        match change {
            Change::Add(route) => {
                info!(route = %route.prefix, table, metric = route.metric, "route added");
                self.announced
                    .insert(route.prefix.addr(), SystemTime::now());
            }
            Change::Remove(route) => {
                info!(route = %route.prefix, table, metric = route.metric, "route removed");
            }
        }
        true
    }

    fn fail(&mut self, error: &Error) -> bool {
        self.problem.get_or_insert_with(|| chain(error));
        false
    }
}

/// Says what is wrong, once.
fn say(problem: Option<&str>, before: Option<&str>) {
    match problem {
        Some(problem) if before != Some(problem) => {
            warn!(problem, "routes of VIPs are not as they should be");
        }
        None if before.is_some() => info!("routes of VIPs are as they should be again"),
        _ => {}
    }
}

/// An error and its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests;
