//! The daemon: one loop that ties configuration, probes, network and operators to the data path.
//!
//! * `start`: from nothing, or from what another daemon left, to an `engine`.
//! * `apply`, `change`, `watch`: what may happen to it. Each builds the desired state anew and
//!   has the difference written; nothing else writes to the data path.
//! * `announce`: which VIPs routing software is to announce.
//! * `observe`: what there is to see; `show`: of one backend. `setup`: what backends need.
//! * `store`: what outlives it. `servers`: its two doors. `alone`: what is done without it.
//!
//! It ends without touching the data path, which goes on and is taken over by the next daemon.

pub mod alone;
mod announce;
mod apply;
mod by_hand;
mod change;
mod digest;
mod engine;
mod guard;
pub(crate) mod heap;
mod inspection;
pub mod instance;
mod kernel_log;
mod logging;
mod network;
mod notify;
mod observe;
mod own_links;
mod paths;
mod peering;
mod reach;
mod recovery;
#[cfg(test)]
mod samples;
mod servers;
mod setup;
mod show;
mod signals;
mod sources;
mod start;
mod store;
mod targets;
mod watch;
mod why;
mod words;

use std::{iter, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch as channel},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until},
};
use tracing::{error, info};

use self::{
    engine::{Engine, now},
    servers::Servers,
    start::Started,
};
pub use self::{instance::Instance, network::Host};
use crate::{
    api::{
        Command, Error, Handle,
        types::{ApplyRequest, Detached},
    },
    health::Event,
    net::{Finding, View},
    peers,
};

/// How the daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which instance it is.
    pub instance: Instance,
    /// The configuration.
    pub config: PathBuf,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether pins may vanish with the mount namespace of the process.
    pub ephemeral: bool,
    /// Whether it begins where packets will be lost.
    pub force: bool,
    /// Whether the log takes colour.
    pub paints: bool,
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// Where it cannot start. The data path is then what it was.
pub fn run(options: Options) -> Result<(), Error> {
    heap::keep();
    logging::start(options.paints)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), Error> {
    let signals = Signals::listen().context("cannot listen for signals")?;
    let Started {
        engine,
        probes,
        path_probes,
        peers,
        doors,
    } = start::start(options).await?;
    let (handle, commands) = Handle::channel(Arc::clone(&engine.chronicle));
    let servers = doors.serve(handle, Arc::clone(&engine.events));
    notify::ready();
    info!(
        revision = engine.saved.revision,
        services = engine.config.services.len(),
        adopted = engine.adopted,
        "running"
    );
    let network = engine.follower.changes();
    let inputs = Inputs {
        commands,
        network,
        probes,
        path_probes,
        peers,
        news: every(peering::BETWEEN_LOOKS),
        signals,
        looks: every(inspection::INTERVAL),
        quiet: every(BETWEEN_LOOKS_AROUND),
        inspections: JoinSet::new(),
        seconds: every(SECOND),
        paths: every(BETWEEN_PATHS),
    };
    Box::pin(run_loop(engine, inputs, servers)).await;
    Ok(())
}

/// All that the loop waits for.
struct Inputs {
    commands: mpsc::Receiver<Command>,
    network: channel::Receiver<Arc<View>>,
    probes: mpsc::UnboundedReceiver<Event>,
    path_probes: mpsc::UnboundedReceiver<Event>,
    peers: mpsc::Receiver<peers::Event>,
    /// Times to look for what is news to peers.
    news: Interval,
    signals: Signals,
    /// Times to look at the host.
    looks: Interval,
    /// Times to look around, and to tidy up.
    quiet: Interval,
    inspections: JoinSet<Vec<Finding>>,
    /// Times to tell the data path the time.
    seconds: Interval,
    /// Times to look for paths that may be longer again.
    paths: Interval,
}

/// Signals that mean something to the daemon.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}

/// Ends of probes that changed something, taken at a time: as a daemon starts, or a rack dies, there are many, and the
/// data path follows all of them at once as quickly as one.
const PROBES_AT_A_TIME: usize = 65_536;

/// Has the data path follow the probes that have ended.
fn follow(engine: &mut Engine, probes: &mut mpsc::UnboundedReceiver<Event>) {
    let mut events: Vec<_> = iter::from_fn(|| probes.try_recv().ok()).collect();
    engine.probed(&mut events);
}

/// Who asked for something may have left: the answer is then lost, and what was done stays.
async fn run_loop(mut engine: Engine, mut inputs: Inputs, servers: Servers) {
    loop {
        // Anew each time: at the start there are as many as there are backends.
        let mut events = Vec::new();
        tokio::select! {
            _ = inputs.probes.recv_many(&mut events, PROBES_AT_A_TIME) => {
                engine.probed(&mut events);
            }
            Some(event) = inputs.path_probes.recv() => engine.path_probed(&event),
            Ok(()) = inputs.network.changed() => log(engine.network_changed()),
            Some(command) = inputs.commands.recv() => match command {
                Command::Detach(reply) => {
                    drop(reply.send(engine.detach().await));
                    break servers.close().await;
                }
                Command::Apply(request, reply) => drop(reply.send(engine.apply(&request))),
                Command::Change(request, reply) => drop(reply.send(engine.change(&request))),
                Command::Administer(request, reply) => {
                    drop(reply.send(engine.administer(&request).await));
                }
                Command::Observe(reply) => {
                    // Before and behind: the data path does what the answer says.
                    follow(&mut engine, &mut inputs.probes);
                    let observed = engine.observe();
                    follow(&mut engine, &mut inputs.probes);
                    drop(reply.send(observed));
                }
                Command::Show(whom, reply) => {
                    follow(&mut engine, &mut inputs.probes);
                    drop(reply.send(engine.show(&whom)));
                }
                Command::Why(request, reply) => engine.explain(&request, reply),
                Command::Setup(reply) => drop(reply.send(Ok(engine.backend_setup()))),
            },
            Some(event) = inputs.peers.recv() => log(engine.peer_wants(event)),
            _ = inputs.news.tick(), if engine.peering.is_on() => engine.tell_peers(),
            () = next_growth(&engine) => log(engine.grow()),
            () = next_expiry(&engine) => log(engine.expire()),
            _ = inputs.seconds.tick() => log(engine.tell_time().and_then(|()| engine.let_rest())),
            _ = inputs.paths.tick() => log(engine.forget_old_paths()),
            _ = inputs.quiet.tick() => engine.look_around(),
            _ = inputs.looks.tick() => drop(inputs.inspections.spawn(engine.inspect())),
            Some(Ok(findings)) = inputs.inspections.join_next() => engine.inspected(findings),
            _ = inputs.signals.hangup.recv() => {
                // The outcome is logged and counted where it is worked out.
                drop(engine.apply(&ApplyRequest::default()));
            }
            _ = inputs.signals.interrupt.recv() => break stopped(),
            _ = inputs.signals.terminate.recv() => break stopped(),
        }
    }
}

fn stopped() {
    info!("stopped; the data path goes on: `xlb run` takes it over, `xlb detach` removes it");
}

fn log(result: Result<(), Error>) {
    if let Err(error) = result {
        error!(%error, "the data path stays as it is");
    }
}

/// What the data path measures idleness in.
const SECOND: Duration = Duration::from_secs(1);
/// From one look at the paths to the next.
const BETWEEN_PATHS: Duration = Duration::from_secs(30);

/// From one look around to the next, by which passive health counts its time.
const BETWEEN_LOOKS_AROUND: Duration = Duration::from_secs(1);

fn every(interval: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The wall clock may be set while an override lasts: it is looked at again after this time.
const CLOCK_CHECK: Duration = Duration::from_secs(10);

async fn next_expiry(engine: &Engine) {
    match engine.saved.next_expiry() {
        Some(at) => sleep(Duration::from_secs(at.saturating_sub(now())).min(CLOCK_CHECK)).await,
        None => std::future::pending().await,
    }
}

async fn next_growth(engine: &Engine) {
    match engine.growing.next(Instant::now()) {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Engine {
    fn tell_time(&mut self) -> Result<(), Error> {
        Ok(self.dataplane.tell_time()?)
    }

    /// What is looked at without an occasion.
    fn look_around(&mut self) {
        log(self.watch());
        self.review_what_waits();
        if self.own_links.is_waiting() {
            self.look_at_own_links();
        }
        self.doubt_own_path();
        self.tidy();
    }

    fn forget_old_paths(&mut self) -> Result<(), Error> {
        Ok(self.dataplane.forget_old_paths()?)
    }

    /// Takes the data path down, once nobody is told any more to send anything here.
    async fn detach(mut self) -> Result<Detached, Error> {
        let withdrawn = self.withdraw_everything().await;
        let attached = self.dataplane.interfaces()?;
        self.dataplane.detach()?;
        let names = attached.into_iter().map(|interface| interface.name);
        let interfaces: Vec<String> = names.collect();
        info!(?interfaces, "detached: nothing is forwarded any more");
        Ok(Detached {
            interfaces,
            withdrawn,
        })
    }
}
