//! What the daemon's loop has to do with other balancers: it looks for news and has it told, and takes over
//! what they tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::{debug, info, warn};

use super::{apply::no_key, engine::Engine};
use crate::{
    api::{
        Error,
        types::{CountItem, PeerItem, PeersItem},
    },
    config::model::{Config, Vip},
    desired::{InstalledService, overrides::Admin},
    health::Health,
    peers::{
        Agreement, Board, Event, Fault, Key, Left, News, Peers, Settings, TableNews, Told, Verdict,
        board,
    },
};

/// From one look for news to the next: what a peer does not know yet of a flow is no older, by and large.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Tables are compared, and peers hear something, so often, whether there is other news or not.
const BETWEEN_SIGNS: Duration = Duration::from_secs(1);

/// News of peers that waits for the loop; peers wait then.
const QUEUE: usize = 16;

/// The other balancers, as the loop knows them.
#[derive(Debug)]
pub(super) struct Peering {
    board: Board,
    events: mpsc::Sender<Event>,
    /// Whether all probes have ended once.
    ready: watch::Sender<bool>,
    peers: Option<Peers>,
    /// Those who are told.
    listeners: BTreeMap<SocketAddr, mpsc::Sender<Arc<Told>>>,
    agreements: BTreeMap<SocketAddr, Agreement>,
    /// When the last look began, and the last one at everything.
    looked: Instant,
    compared: Instant,
    /// The tables that they know.
    tables: Vec<TableNews>,
}

impl Peering {
    /// Without any; and what they will want.
    pub(super) fn new() -> (Self, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(QUEUE);
        let peering = Self {
            board: Board::default(),
            events,
            ready: watch::channel(false).0,
            peers: None,
            listeners: BTreeMap::new(),
            agreements: BTreeMap::new(),
            looked: Instant::now(),
            compared: Instant::now(),
            tables: Vec::new(),
        };
        (peering, receiver)
    }

    /// Whether there are any.
    pub(super) const fn is_on(&self) -> bool {
        self.peers.is_some()
    }

    /// Begins anew with others, if they are others.
    fn follow(&mut self, settings: Option<Settings>) {
        if self.peers.as_ref().map(Peers::settings) == settings.as_ref() {
            return;
        }
        self.listeners.clear();
        self.agreements.clear();
        // The tasks before end first: they have the address.
        self.peers = None;
        let start = |settings| {
            let (events, ready) = (self.events.clone(), self.ready.subscribe());
            Peers::start(settings, &self.board, events, ready)
        };
        self.peers = settings.map(start);
    }

    fn is_peer(&self, peer: SocketAddr) -> bool {
        let peers = self.peers.iter();
        let mut others = peers.flat_map(|peers| &peers.settings().others);
        others.any(|other| *other == peer)
    }

    /// Has all be told that listen.
    fn tell(&mut self, news: News, since: Instant) {
        let told = Arc::new(Told { news, since });
        // Those who do not keep up ask again for everything.
        self.listeners
            .retain(|_, listener| listener.try_send(Arc::clone(&told)).is_ok());
    }

    /// Whether a peer has not told yet all that it knows.
    pub(super) fn waits(&self) -> bool {
        self.is_on() && self.board.is_waiting()
    }

    /// What there is to see.
    pub(super) fn item(&self) -> PeersItem {
        let Some(peers) = &self.peers else {
            return PeersItem::default();
        };
        let seen = self.board.read();
        let refused = |label: &&str| count(label, seen.refused.get(label).copied());
        let left = Left::ALL.iter().zip(seen.left);
        PeersItem {
            listen: Some(peers.settings().listen),
            items: seen.peers.iter().map(item).collect(),
            refused: Fault::LABELS.iter().map(refused).collect(),
            not_taken: left
                .map(|(why, number)| count(why.label(), Some(number)))
                .collect(),
        }
    }
}

fn count(reason: &str, count: Option<u64>) -> CountItem {
    CountItem {
        reason: reason.to_owned(),
        count: count.unwrap_or(0),
    }
}

fn item((address, peer): (&SocketAddr, &board::Peer)) -> PeerItem {
    let both = peer.told_since.zip(peer.heard_since);
    PeerItem {
        address: address.to_string(),
        name: peer.name.clone(),
        told: peer.told_since.is_some(),
        heard: peer.heard_since.is_some(),
        complete: peer.complete,
        connected_seconds: both.map(|(told, heard)| told.max(heard).elapsed().as_secs()),
        sent: peer.sent,
        received: peer.received,
        lag_us: peer
            .lag
            .map(|lag| u64::try_from(lag.as_micros()).unwrap_or(u64::MAX)),
        tables_differ: peer.differs.clone(),
        error: peer.error.clone(),
    }
}

impl Engine {
    /// The other balancers of a configuration.
    ///
    /// # Errors
    /// Where there is no key.
    pub(super) fn peers_of(&self, config: &Config) -> Result<Option<Settings>, Error> {
        let Some(peers) = &config.peers else {
            return Ok(None);
        };
        let key = Key::read(&peers.key_file).map_err(|error| no_key(&error))?;
        Ok(Some(Settings {
            listen: peers.listen,
            others: peers.others.clone(),
            key,
            seed: self.dataplane.seeds().fingerprint(),
            name: self.options.instance.name.clone(),
        }))
    }

    /// Talks to these balancers from now on.
    pub(super) fn follow_peers(&mut self, settings: Option<Settings>) {
        self.dataplane.tell_peers(settings.is_some());
        self.peering.follow(settings);
    }

    /// Looks for news, and has peers told of it.
    pub(super) fn tell_peers(&mut self) {
        let began = Instant::now();
        let since = std::mem::replace(&mut self.peering.looked, began);
        let mut news = self.dataplane.news();
        let is_due = began.duration_since(self.peering.compared) >= BETWEEN_SIGNS;
        if is_due {
            self.peering.compared = began;
            self.see_whether_ready();
            self.compare_tables(&mut news);
        }
        if is_due || !news.is_empty() {
            self.peering.tell(news, since);
        }
    }

    /// What peers tell can be judged once all probes have ended: before, nothing is known of backends, and
    /// rows move from one that was found up to the next.
    fn see_whether_ready(&self) {
        if *self.peering.ready.borrow() {
            return;
        }
        let effective = &self.effective;
        let mut backends = effective.config.services.iter().flat_map(|service| {
            let backends = service.backends.iter();
            backends.map(move |backend| (service, backend.address))
        });
        let is_decided = backends.all(|(service, address)| {
            effective.admin(&service.name, address) == Admin::Maint
                || self.health(effective, service, address) != Health::Unknown
        });
        if is_decided {
            self.peering.ready.send_replace(true);
        }
    }

    /// Compares the slot tables with those of peers, and tells them where they changed.
    fn compare_tables(&mut self, news: &mut News) {
        let tables = self.dataplane.tables();
        let names: BTreeMap<Vip, String> = self
            .effective
            .config
            .services
            .iter()
            .map(|service| (service.vip, service.name.clone()))
            .collect();
        let named = |vips: BTreeSet<Vip>| -> Vec<String> {
            let name = |vip: Vip| names.get(&vip).cloned().unwrap_or_else(|| vip.to_string());
            vips.into_iter().map(name).collect()
        };
        let installed = self.dataplane.installed();
        let is_partial = |vip| {
            installed
                .service(vip)
                .is_some_and(InstalledService::is_partial)
        };
        let board = self.peering.board.clone();
        self.peering
            .agreements
            .retain(|peer, _| board.is_heard(*peer));
        for (peer, agreement) in &mut self.peering.agreements {
            match agreement.look(&tables, is_partial) {
                Verdict::Nothing => {}
                Verdict::Differ(vips) => {
                    let services = named(vips);
                    warn!(%peer, ?services, "slot tables differ from those of a peer: another file, override, or view of backends");
                }
                Verdict::Agree => info!(%peer, "slot tables are those of a peer again"),
            }
            let differs = named(agreement.differs(&tables));
            board.differs(*peer, differs);
        }
        if tables != self.peering.tables {
            news.tables = Some(tables.clone());
            self.peering.tables = tables;
        }
    }

    /// Does what a peer wants.
    pub(super) fn peer_wants(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Asks { peer, news } if self.peering.is_peer(peer) => {
                let told = Told {
                    news: self.dataplane.all_news(),
                    since: Instant::now(),
                };
                // A fresh queue has room; and who is gone is found out by the next news.
                if news.try_send(Arc::new(told)).is_ok() {
                    self.peering.listeners.insert(peer, news);
                }
                Ok(())
            }
            Event::Tells { peer, news, done } if self.peering.is_peer(peer) => {
                self.welcome(&news)?;
                let taken = self.dataplane.take(&news)?;
                let (entries, completes) = (news.entries(), news.completes);
                self.peering.board.took(peer, entries, completes, &taken);
                if completes {
                    info!(%peer, rows = taken.rows, flows = taken.flows, "a peer has told all that it knew");
                }
                if let Some(tables) = news.tables {
                    self.peering
                        .agreements
                        .entry(peer)
                        .or_default()
                        .heard(tables);
                }
                if done.send(()).is_err() {
                    debug!(%peer, "a peer is gone before what it told was taken over");
                }
                Ok(())
            }
            // It is none any more.
            Event::Asks { .. } | Event::Tells { .. } => Ok(()),
        }
    }
}
