//! From nothing, or from what another daemon left, to a running engine.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::{
    Options,
    announce::{Announcement, mark},
    apply::Loaded,
    engine::Engine,
    inspection,
    kernel_log::KernelLog,
    network::Host,
    own_links::OwnLinks,
    paths::Paths,
    peering::Peering,
    servers::Doors,
    sources::{self, HostPorts},
    store::{Saved, Store},
    watch::count,
};
use crate::{
    api::{Error, socket},
    config::model::{Config, Vip},
    dataplane::{Adopted, Dataplane, Pins, Settings},
    desired::{Guests, InstalledService, overrides::Effective, quorum::Short, tiers::InUse},
    health::{
        Event, Prober, passive::Watch, probe::Kinds, scheduler::concurrency, slow_start::Growing,
    },
    metrics::{self, Events},
    net::{self, Finding, Follower},
    peers,
};

/// An engine that runs, and what it is asked and told by.
pub(super) struct Started {
    pub(super) engine: Engine,
    pub(super) probes: mpsc::UnboundedReceiver<Event>,
    pub(super) path_probes: mpsc::UnboundedReceiver<Event>,
    pub(super) peers: mpsc::Receiver<peers::Event>,
    pub(super) doors: Doors,
}

/// Reads everything, then takes over or makes the data path. What may be wrong is looked at before
/// anything is touched.
pub(super) async fn start(options: Options) -> Result<Started, Error> {
    let loaded = Loaded::read(&options.config)?;
    for note in &loaded.parsed.notes {
        info!("{}", note.message);
    }
    socket::ensure_free(&options.instance.socket())?;
    let store = Store::new(options.instance.state());
    let mut saved = store.load()?.unwrap_or_default();
    saved.expire();
    let metrics = match options.metrics {
        Some(address) => Some(metrics::listen(address).await?),
        None => None,
    };
    let follower = Follower::start().await;
    let follower = follower.context("cannot follow the network")?;
    let findings = inspection::look(&follower.view(), &loaded.parsed.config).await;
    refuse(&loaded.parsed.config, &saved, &follower)?;
    if !options.force {
        let running = Pins::new(options.instance.pins()).links()?;
        inspection::refuse(&findings, &running)?;
    }
    let (dataplane, adopted) = open(&options, &loaded.parsed.config, &mut saved)?;
    // The lock that comes with the data path says that no other daemon will take the socket.
    let doors = Doors::open(&options.instance.socket(), metrics)?;
    let world = World {
        store,
        follower,
        findings,
        dataplane,
        adopted,
        doors,
    };
    world.begin(options, loaded, saved).await
}

/// Refuses what cannot work on this host.
fn refuse(config: &Config, saved: &Saved, follower: &Follower) -> Result<(), Error> {
    let host = Host::try_new(follower.view(), &config.direct).map_err(anyhow::Error::new)?;
    let effective = saved.overrides.apply(config);
    sources::refuse(&effective.config, &host, HostPorts::read)
}

fn open(options: &Options, config: &Config, saved: &mut Saved) -> Result<(Dataplane, bool), Error> {
    let settings = Settings {
        pins: options.instance.pins(),
        lock: options.instance.lock(),
        ephemeral: options.ephemeral,
    };
    let effective = saved.overrides.apply(config);
    let (dataplane, adopted) = Dataplane::open(&settings, &effective.config, saved.seeds)?;
    let Adopted {
        health: _,
        maps,
        fallback,
    } = adopted;
    if let Some(reason) = fallback {
        warn!(%reason, "the program of the daemon before goes on: this version's does not load");
    }
    saved.seeds = Some(dataplane.seeds());
    Ok((dataplane, maps))
}

/// All that was opened.
struct World {
    store: Store,
    follower: Follower,
    findings: Vec<Finding>,
    dataplane: Dataplane,
    adopted: bool,
    doors: Doors,
}

impl World {
    #[expect(clippy::too_many_lines, reason = "most are the fields of one value")]
    async fn begin(
        mut self,
        options: Options,
        loaded: Loaded,
        mut saved: Saved,
    ) -> Result<Started, Error> {
        if saved.digest != loaded.digest {
            saved.digest.clone_from(&loaded.digest);
            saved.revision += 1;
        }
        let source = loaded.info();
        let config = loaded.parsed.config;
        let effective = saved.overrides.apply(&config);
        let host = Host::try_new(self.follower.view(), &config.direct);
        let events = Events::try_new().map_err(anyhow::Error::new)?;
        let events = Arc::new(Mutex::new(events));
        let counts = count(Arc::clone(&events), self.follower.doubts());
        let probes_at_a_time = concurrency(descriptors());
        let (prober, probes) = Prober::new(Kinds::default(), probes_at_a_time, counts);
        let (paths, path_probes) = Paths::new(probes_at_a_time);
        let announcement = found_announced(&config, &saved, &mut self.dataplane).await?;
        let (peering, peers) = Peering::new();
        let mut engine = Engine {
            options,
            config,
            source,
            effective: Arc::new(effective.clone()),
            saved,
            store: self.store,
            host: host.map_err(anyhow::Error::new)?,
            follower: self.follower,
            reports: prober.reports(),
            prober,
            paths,
            dataplane: self.dataplane,
            findings: Vec::new(),
            kernel_log: None,
            events,
            doubts_own_path: false,
            chronicle: Arc::default(),
            watched: Watch::default(),
            growing: Growing::default(),
            short: Short::default(),
            tiers: InUse::default(),
            own_links: OwnLinks::default(),
            started: Instant::now(),
            untidy: true,
            generation: 0,
            adopted: self.adopted,
            metrics: self.doors.metrics_address()?,
            sweeper: JoinSet::new(),
            announcement,
            peering,
            guests: Guests::new(),
            swept: None,
        };
        engine.inspected(self.findings);
        engine.save()?;
        engine.go(effective).await?;
        Ok(Started {
            engine,
            probes,
            path_probes,
            peers,
            doors: self.doors,
        })
    }
}

/// What another daemon announced.
async fn found_announced(
    config: &Config,
    saved: &Saved,
    dataplane: &mut Dataplane,
) -> Result<Announcement, Error> {
    let mut marks = saved.marks.clone();
    marks.extend(config.announce.map(mark));
    let found = net::announce::announced(&marks).await;
    let found = found.context("cannot tell which VIPs are announced")?;
    let vips = config.services.iter().map(|service| service.vip);
    let installed = |vip: &Vip| dataplane.installed().service(*vip);
    let settled = vips.filter(|vip| installed(vip).is_some_and(InstalledService::is_settled));
    let settled: HashSet<Vip> = settled.filter(|_| config.announce.is_some()).collect();
    dataplane.expect_flows_of(settled.clone());
    Ok(Announcement::adopt(found, settled))
}

/// How long a start waits for neighbours that were not asked for yet.
const COLD: Duration = Duration::from_secs(2);

impl Engine {
    /// Fills the maps, and lets packets come.
    async fn go(&mut self, effective: Effective) -> Result<(), Error> {
        let others = self.peers_of(&self.config)?;
        self.prepare_paths(&effective.config)?;
        self.follow_receivers();
        self.settle(&effective)?;
        self.adopt(effective);
        self.begin_recovery();
        if !self.adopted {
            self.wait_for_neighbours().await?;
        }
        self.follow_peers(others);
        self.go_live()
    }

    /// Waits a while for the neighbours of services that are not probed: their backends count as up, and
    /// the first packets would find no way to them.
    async fn wait_for_neighbours(&mut self) -> Result<(), Error> {
        let mut changes = self.follower.changes();
        let deadline = Instant::now() + COLD;
        while self.host.has_cold_neighbours(&self.effective.config) {
            let Ok(Ok(())) = timeout_at(deadline, changes.changed()).await else {
                warn!(
                    "backends of services without a probe do not answer ARP or neighbour discovery"
                );
                break;
            };
            self.network_changed()?;
        }
        Ok(())
    }

    /// Lets packets in, and then the world know.
    fn go_live(&mut self) -> Result<(), Error> {
        self.dataplane
            .attach(&self.paths.interfaces(&self.config))?;
        self.start_announcing();
        self.read_kernel_log()
    }

    /// Reads the log of the program that runs.
    fn read_kernel_log(&mut self) -> Result<(), Error> {
        let attached = self.dataplane.interfaces()?;
        let program = attached.first().map(|interface| interface.program_id);
        self.kernel_log = program.and_then(KernelLog::follow);
        Ok(())
    }
}

/// Descriptors that the process may have, after it asked for as many as it may ask for.
fn descriptors() -> u64 {
    let has = getrlimit(Resource::RLIMIT_NOFILE);
    let (soft, hard) = has.unwrap_or_default();
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_refused) => soft,
    }
}
