//! The daemon's knowledge, and the one way from it to the data path.
//!
//! Invariant: `effective` is `config` under the saved overrides, the prober's targets are its
//! backends, and the maps say what [`Engine::settle`] last made of it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use lb_common::backend::State as Word;
use tokio::{task::JoinSet, time::Instant};
use tracing::{info, warn};

use super::{
    Options,
    announce::Announcement,
    heap,
    kernel_log::KernelLog,
    network::Host,
    own_links::OwnLinks,
    paths::Paths,
    peering::Peering,
    store::{Saved, Store},
    targets::{self, targets},
};
use crate::{
    api::{Chronicle, Code, Error, types::EventItem},
    config::model::{self, Config, Service, Vip},
    dataplane::{Dataplane, Summary},
    desired::{
        self, Guests, Inputs, State,
        overrides::{Admin, Effective},
        quorum::{self, Short},
        tiers::{self, InUse, Turn},
    },
    health::{Health, Prober, Reports, passive::Watch, slow_start::Growing},
    metrics::Events,
    net::{Follower, inspect::Finding},
    peers::News,
};

/// All that the daemon knows and holds.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) options: Options,
    /// As the file says.
    pub(super) config: Config,
    pub(super) source: SourceInfo,
    /// The configuration under the overrides.
    pub(super) effective: Arc<Effective>,
    pub(super) saved: Saved,
    pub(super) store: Store,
    pub(super) host: Host,
    pub(super) follower: Follower,
    pub(super) prober: Prober,
    pub(super) reports: Reports,
    /// Probes by way of VIPs.
    pub(super) paths: Paths,
    pub(super) dataplane: Dataplane,
    /// What cannot work as the host is set up.
    pub(super) findings: Vec<Finding>,
    pub(super) kernel_log: Option<KernelLog>,
    pub(super) events: Arc<Mutex<Events>>,
    /// Whether probes are silent for what is likelier this host's own fault.
    pub(super) doubts_own_path: bool,
    /// What packets show of backends.
    pub(super) watched: Watch,
    /// Backends whose share grows.
    pub(super) growing: Growing,
    /// Services with fewer backends than they need.
    pub(super) short: Short,
    /// Which tiers of services with backups are in use.
    pub(super) tiers: InUse,
    /// By which links backends are reached.
    pub(super) own_links: OwnLinks,
    /// What happened, for whoever asks.
    pub(super) chronicle: Arc<Chronicle>,
    pub(super) started: Instant,
    /// Whether a state was built since the heap was last trimmed.
    pub(super) untidy: bool,
    /// Changes of the slot tables.
    pub(super) generation: u64,
    pub(super) adopted: bool,
    pub(super) metrics: Option<SocketAddr>,
    /// Looks after remembered flows, once there are any.
    pub(super) sweeper: JoinSet<()>,
    /// Which VIPs are announced.
    pub(super) announcement: Announcement,
    /// The other balancers.
    pub(super) peering: Peering,
    /// Backends that stay for the sake of flows that other balancers told of.
    pub(super) guests: Guests,
    /// The map that it looks after.
    pub(super) swept: Option<u64>,
}

/// Where the configuration came from, and how the last reload went.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceInfo {
    pub(super) path: String,
    pub(super) digest: String,
    pub(super) notes: Vec<String>,
    /// Seconds since 1970.
    pub(super) applied_at: u64,
    pub(super) last_reload_successful: bool,
}

/// Rows of a change that builds much. What a smaller one took is kept for the next one: pages that went back to the
/// kernel would cost it a fifth of its time.
const MANY: usize = 1 << 15;

impl Engine {
    /// Makes the maps say what `effective`, probes and network amount to; the number of slots that
    /// got another owner.
    pub(super) fn settle(&mut self, effective: &Effective) -> Result<u32, Error> {
        self.settle_but(effective, None)
    }

    /// The same; the flows of a backend that is gone are cut, where it listens there.
    pub(super) fn settle_but(
        &mut self,
        effective: &Effective,
        cut: Option<SocketAddr>,
    ) -> Result<u32, Error> {
        self.paths.choose(effective, &self.reports);
        let services = effective.config.services.iter();
        let known = |it: &Service| self.reports.health(&it.name);
        let services: HashMap<Vip, _> = services.map(|it| (it.vip, (it, known(it)))).collect();
        let health = |vip, address| match services.get(&vip) {
            Some((service, known)) => {
                self.health_if(effective, service, address, known.of(address))
            }
            None => Health::Unknown,
        };
        let state = desired::build(&Inputs {
            effective,
            health,
            network: &self.host,
            tracks: self.dataplane.tracks(),
            parts: &self.parts(effective),
            guests: &self.guests,
            probe_link: self.paths.link(&effective.config),
        });
        let mut state = State {
            cut,
            ..state.map_err(anyhow::Error::new)?
        };
        let is_ready = |service: &str, at| effective.admin(service, at) == Admin::Ready;
        let (mut tiers, mut short) = (self.tiers.clone(), self.short.clone());
        let turns = tiers::apply(&mut state, &effective.config, &mut tiers);
        let told = quorum::apply(&mut state, &effective.config, &mut short, is_ready);
        let Summary { changes: _, rows } = self.dataplane.reconcile(&state)?;
        (self.tiers, self.short) = (tiers, short);
        self.note_turns(effective, &turns);
        self.note_short(effective, &told);
        self.look_after_flows()?;
        self.announcement.take(&effective.config, &state);
        let settled = self.announcement.settled().clone();
        self.dataplane.expect_flows_of(settled);
        self.review_announcement();
        if rows > 0 {
            self.generation += 1;
        }
        self.untidy |= rows >= MANY;
        Ok(u32::try_from(rows).unwrap_or(u32::MAX))
    }

    /// Says which services take backups in, and which let them go.
    fn note_turns(&self, effective: &Effective, turns: &[Turn]) {
        for turn in turns {
            let mut services = effective.config.services.iter();
            let Some(service) = services.find(|service| service.vip == turn.vip) else {
                continue;
            };
            let (name, tier) = (&service.name, turn.tier);
            let cause = turn.to_string();
            if turn.is_higher {
                warn!(service = %name, tier, %cause, "backups take flows");
            } else {
                info!(service = %name, tier, %cause, "backups take no new flows any more");
            }
            let count = |count: usize| u32::try_from(count).ok();
            self.chronicle.record(EventItem {
                what: "tier_changed".to_owned(),
                service: Some(name.clone()),
                cause,
                up: count(turn.primaries.0),
                total: count(turn.primaries.1),
                ..EventItem::default()
            });
        }
    }

    /// Says which services have too few backends now, and which have enough again.
    fn note_short(&self, effective: &Effective, told: &[(Vip, bool)]) {
        for (vip, is_short) in told {
            let mut services = effective.config.services.iter();
            let Some(service) = services.find(|service| service.vip == *vip) else {
                continue;
            };
            // Of others each death is told.
            if service.guards == model::Guards::default() {
                continue;
            }
            let (name, min_up) = (&service.name, service.guards.min_up);
            let when_empty = service.guards.when_empty;
            if *is_short {
                warn!(service = %name, min_up, ?when_empty, "service has too few backends");
            } else {
                info!(service = %name, min_up, "service has enough backends again");
            }
            self.chronicle.record(EventItem {
                what: if *is_short { "too_few" } else { "enough" }.to_owned(),
                service: Some(name.clone()),
                cause: format!("min_up is {min_up}"),
                ..EventItem::default()
            });
        }
    }

    /// Makes room for backends that a peer has flows of and the configuration does not name (any more, or yet):
    /// they stay while flows are there.
    pub(super) fn welcome(&mut self, news: &News) -> Result<(), Error> {
        let strangers = self.dataplane.strangers(news);
        if strangers.is_empty() {
            return Ok(());
        }
        info!(backends = ?strangers, "a peer has flows of backends that are not configured here");
        self.dismiss_guests();
        self.guests.extend(strangers);
        self.keep_neighbours();
        let effective = Arc::clone(&self.effective);
        self.settle(&effective)?;
        Ok(())
    }

    fn dismiss_guests(&mut self) {
        let dataplane = &self.dataplane;
        self.guests.retain(|guest| dataplane.has_flows_of(*guest));
    }

    /// Lets rows come to rest, and backends go that nobody names any more.
    pub(super) fn let_rest(&mut self) -> Result<(), Error> {
        if self.dataplane.let_rest()? {
            self.dismiss_guests();
            let effective = Arc::clone(&self.effective);
            self.settle(&effective)?;
        }
        Ok(())
    }

    fn look_after_flows(&mut self) -> Result<(), Error> {
        let map = self.dataplane.flow_map();
        if self.swept != Some(map)
            && let Some(sweeper) = self.dataplane.sweeper()?
        {
            self.sweeper.abort_all();
            self.sweeper.spawn(sweeper.run());
            self.swept = Some(map);
        }
        Ok(())
    }

    /// What is known of a backend: what probes say, else what it begins as. Nothing is known of one
    /// in maintenance: nobody asks it.
    pub(super) fn health(
        &self,
        effective: &Effective,
        service: &Service,
        address: SocketAddr,
    ) -> Health {
        let report = self.reports.of(&service.name, address);
        self.health_if(effective, service, address, report.map(|it| it.health))
    }

    /// The same, where it is known what its probes say.
    fn health_if(
        &self,
        effective: &Effective,
        service: &Service,
        address: SocketAddr,
        probed: Option<Health>,
    ) -> Health {
        if effective.admin(&service.name, address) == Admin::Maint {
            return Health::Unknown;
        }
        match probed {
            Some(health) => self.paths.judge(service, address, health),
            None => self.initial_health(service, address),
        }
    }

    /// What a backend is before its first probe.
    fn initial_health(&self, service: &Service, address: SocketAddr) -> Health {
        targets::initial(service, self.installed_health(service.vip, address))
    }

    /// What the maps say of a backend.
    fn installed_health(&self, vip: Vip, address: SocketAddr) -> Health {
        let installed = self.dataplane.installed().service(vip);
        let entry = installed.and_then(|service| {
            let mut backends = service.backends();
            backends.find(|(_, entry)| entry.address == address)
        });
        entry.map_or(Health::Unknown, |(_, entry)| match entry.state {
            Word::Up => Health::Up,
            Word::Down => Health::Down,
            Word::Free | Word::Header | Word::Unknown => Health::Unknown,
        })
    }

    /// Puts an effective configuration that was settled in force: probes, neighbours and metrics
    /// follow it.
    pub(super) fn adopt(&mut self, effective: Effective) {
        let initial = |service: &Service, address| self.initial_health(service, address);
        let targets = targets(&effective, initial);
        self.prober.set_targets(targets);
        self.events()
            .follow(effective.config.services.iter().map(|service| {
                let addresses = service.backends.iter().map(|backend| backend.address);
                (service.name.as_str(), addresses.collect())
            }));
        self.paths.follow(&effective, &self.host, &self.dataplane);
        self.paths.tidy(&effective.config);
        self.effective = Arc::new(effective);
        self.untidy = true;
        self.follow_growing();
        self.keep_neighbours();
        self.look_at_own_links();
    }

    /// Tells those who are to be told, and nobody else.
    pub(super) fn follow_receivers(&self) {
        let receivers = self.chronicle.receivers();
        receivers.follow(&self.config.notify, &self.options.instance.name);
    }

    /// Lets nobody be blamed for a link of this host's that is down.
    pub(super) fn look_at_own_links(&mut self) {
        let services = self.effective.config.services.iter();
        let backends = services.flat_map(|service| &service.backends);
        let hosts = backends.map(|backend| backend.address.ip());
        let cut_off = self
            .own_links
            .cut_off(hosts, &self.follower.view(), Instant::now());
        self.prober.set_cut_off(cut_off);
    }

    /// Has the kernel keep the neighbours resolved that packets leave by.
    pub(super) fn keep_neighbours(&self) {
        let guests = self.guests.iter().map(|(_, address)| address.ip());
        let neighbours = self.host.neighbours(&self.effective.config, guests);
        self.follower.keep_resolved(neighbours);
    }

    /// Gives back the memory that building states took.
    pub(super) fn tidy(&mut self) {
        if std::mem::take(&mut self.untidy) {
            heap::trim();
        }
    }

    pub(super) fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps revision and overrides on disk.
    pub(super) fn save(&self) -> Result<(), Error> {
        let saved = Saved {
            marks: self.marks(),
            ..self.saved.clone()
        };
        self.store.save(&saved).map_err(|error| {
            Error::new(
                Code::Failed,
                format!("done, but lost at a restart: {error:#}"),
            )
        })
    }
}

/// The whole second to come, since 1970: what lasts from now on is counted from there, so that it
/// lasts no shorter than it should.
pub(super) fn next_second() -> u64 {
    now() + 1
}

/// Seconds since 1970, UTC.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
