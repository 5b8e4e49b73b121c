//! What there is to see of the peers.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    fault::Fault,
    news::{Left, Taken},
};

/// Shared by the daemon's loop and the tasks of the peers.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Seen>>);

/// Everything on it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The configured peers.
    pub peers: BTreeMap<SocketAddr, Peer>,
    /// Connections that ended by a fault, by [`Fault::label`].
    pub refused: BTreeMap<&'static str, u64>,
    /// Entries of peers that were not taken over.
    pub left: [u64; Left::ALL.len()],
    logged: BTreeMap<&'static str, Instant>,
    /// How often the peers became others: connections from before are none of theirs.
    epoch: u64,
}

/// A configured peer.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// What its instance is called.
    pub name: Option<String>,
    /// Since when it is told news.
    pub told_since: Option<Instant>,
    /// Since when it tells news.
    pub heard_since: Option<Instant>,
    /// Its connections that tell: a new one may come before the end of the old one is noticed.
    pub tellers: u32,
    /// Whether it has told all that it knew when it was asked.
    pub complete: bool,
    /// Rows and flows told.
    pub sent: u64,
    /// Rows and flows heard.
    pub received: u64,
    /// How old the oldest news was when the peer had taken it.
    pub lag: Option<Duration>,
    /// Services whose slot tables differ there.
    pub differs: Vec<String>,
    /// Why it is not connected.
    pub error: Option<String>,
}

/// The same fault is logged again after this time.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

impl Board {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a peer has not told yet all that it knows.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.seen().peers.values().all(|peer| peer.complete)
    }

    /// A copy of everything.
    #[must_use]
    pub fn read(&self) -> Seen {
        self.seen().clone()
    }

    /// Starts anew with these peers; counters stay.
    pub(super) fn follow(&self, peers: &[SocketAddr]) {
        let mut seen = self.seen();
        let mut before = std::mem::take(&mut seen.peers);
        let peer = |address: &SocketAddr| {
            let Peer { sent, received, .. } = before.remove(address).unwrap_or_default();
            let peer = Peer {
                sent,
                received,
                ..Peer::default()
            };
            (*address, peer)
        };
        seen.peers = peers.iter().map(peer).collect();
        seen.epoch += 1;
    }

    fn change(&self, peer: SocketAddr, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.seen().peers.get_mut(&peer) {
            change(peer);
        }
    }

    pub(super) fn tells(&self, peer: SocketAddr, name: String) {
        info!(%peer, %name, "connected to a peer: it is told of flows and rows that move");
        self.change(peer, |peer| {
            peer.told_since = Some(Instant::now());
            peer.name = Some(name);
            peer.error = None;
        });
    }

    pub(super) fn tells_no_more(&self, peer: SocketAddr, fault: &Fault) {
        let text = fault.to_string();
        let mut is_news = false;
        self.change(peer, |peer| {
            is_news = peer.error.as_ref() != Some(&text);
            peer.told_since = None;
            peer.lag = None;
            peer.error = Some(text.clone());
        });
        self.count(fault);
        if is_news {
            warn!(%peer, error = text, "no connection to a peer; it is called again");
        }
    }

    /// A peer begins to tell; what ends with this: see [`Self::hears_no_more`].
    pub(super) fn hears(&self, peer: SocketAddr) -> u64 {
        info!(%peer, "a peer tells of its flows and rows that move");
        self.change(peer, |peer| {
            peer.heard_since = Some(Instant::now());
            peer.tellers += 1;
            peer.complete = false;
        });
        self.seen().epoch
    }

    /// Whether a peer tells news.
    #[must_use]
    pub fn is_heard(&self, peer: SocketAddr) -> bool {
        let seen = self.seen();
        let peer = seen.peers.get(&peer);
        peer.is_some_and(|peer| peer.heard_since.is_some())
    }

    pub(super) fn hears_no_more(&self, peer: SocketAddr, epoch: u64) {
        if self.seen().epoch != epoch {
            return;
        }
        self.change(peer, |peer| {
            peer.tellers = peer.tellers.saturating_sub(1);
            if peer.tellers == 0 {
                peer.heard_since = None;
                peer.complete = false;
                peer.differs.clear();
            }
        });
    }

    /// A caller was turned away, or a peer that told ended.
    pub(super) fn refuse(&self, caller: SocketAddr, fault: &Fault) {
        self.count(fault);
        let label = fault.label().unwrap_or("lost");
        if self.is_time_to_log(label) {
            warn!(%caller, reason = label, error = %fault, "the connection of a peer ended");
        }
    }

    /// Others may call as often as they like.
    fn is_time_to_log(&self, label: &'static str) -> bool {
        let (now, mut seen) = (Instant::now(), self.seen());
        let last = seen.logged.get(label);
        if last.is_some_and(|last| now.saturating_duration_since(*last) < BETWEEN_LINES) {
            return false;
        }
        seen.logged.insert(label, now);
        true
    }

    fn count(&self, fault: &Fault) {
        if let Some(label) = fault.label() {
            *self.seen().refused.entry(label).or_default() += 1;
        }
    }

    pub(super) fn sent(&self, peer: SocketAddr, entries: usize) {
        self.change(peer, |peer| peer.sent += entries as u64);
    }

    pub(super) fn lag(&self, peer: SocketAddr, lag: Duration) {
        self.change(peer, |peer| peer.lag = Some(lag));
    }

    /// What became of news.
    pub fn took(&self, peer: SocketAddr, entries: usize, completes: bool, taken: &Taken) {
        self.change(peer, |peer| {
            peer.received += entries as u64;
            peer.complete |= completes;
        });
        let mut seen = self.seen();
        for (total, count) in seen.left.iter_mut().zip(taken.left) {
            *total += count;
        }
    }

    /// Which tables differ.
    pub fn differs(&self, peer: SocketAddr, services: Vec<String>) {
        self.change(peer, |peer| peer.differs = services);
    }
}
