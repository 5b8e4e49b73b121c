//! Backends that are not wanted any more and still have flows: they go on until nobody names them.

use std::{collections::HashSet, net::SocketAddr};

use lb_common::backend::{Mode, State as Word};

use super::{
    claims::{self, Claim},
    entry::Entry,
    health_of,
    installed::{Installed, Service},
    specialisation,
    state::{self, Forwarding, State},
};
use crate::{config::model::Vip, dataplane::sizes::SHARED_FLOWS, health::Health, slot_table::Part};

/// What a change of the maps goes by beside what is installed and what is desired.
#[expect(missing_debug_implementations, reason = "a function has none")]
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The second, as the data path counts.
    pub now: u32,
    /// What is known of tracked flows.
    pub tracks: &'a Tracks,
    /// Whether packets ever went to a pair, or may have gone through another balancer: without any it has
    /// no flows.
    pub has_traffic: &'a dyn Fn(u32) -> bool,
}

/// What is known of tracked flows: the last look at all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    /// The second in which it began.
    pub began: u32,
    /// Who has flows, as rows name them: of which service, an entry does not say.
    pub owners: HashSet<u16>,
}

/// The state with the backends that have to stay for their flows' sake, and with what the program has to be able to
/// do for them.
pub(super) fn with_leaving(installed: &Installed, desired: &State, tracks: &Tracks) -> State {
    let mut state = desired.clone();
    if !state.tracks {
        return state;
    }
    let claimed: Vec<Claim> = claims::wanted(desired).collect();
    let State {
        services,
        pools,
        cut,
        ..
    } = &mut state;
    for service in services {
        let Some(installed_service) = installed.services.get(&service.vip) else {
            continue;
        };
        let vip = service.vip;
        let may_stay =
            |entry: &Entry| Some(entry.address) != *cut && !is_taken(vip, entry, &claimed);
        let leaving = installed_service.leaving(service, tracks);
        let is_guest = |entry: &Entry| {
            let mut guests = service.backends.iter().filter(|backend| backend.leaving);
            guests.any(|guest| {
                guest.address == entry.address && guest.forwarding.mode() == entry.forwarding.mode()
            })
        };
        let leaving: Vec<_> = leaving.into_iter().filter(|it| !is_guest(it)).collect();
        for entry in leaving.into_iter().filter(may_stay) {
            let forwarding = match entry.forwarding {
                Forwarding::FullNat(index) => {
                    let Some(place) = installed.pool_place(index, pools) else {
                        continue;
                    };
                    Forwarding::FullNat(place)
                }
                other => other,
            };
            let known = successor(&entry, service).map(|it| (it.health, it.keeps));
            service.backends.extend(backend(entry, forwarding, known));
        }
    }
    keep_apart(&mut state);
    state.specialisation = specialisation::serving(&state);
    state
}

/// Marks the NAT backends that services share as long as one of them is on its way out: replies to its flows are
/// told from those of the service that stays.
fn keep_apart(state: &mut State) {
    let mut backends = state.services.iter().flat_map(|service| &service.backends);
    if !backends.any(|backend| backend.leaving && backend.forwarding == Forwarding::Nat) {
        return;
    }
    let shared = claims::shared_among(claims::wanted(state));
    for service in &mut state.services {
        for backend in &mut service.backends {
            let claim = Claim {
                vip: service.vip,
                backend: backend.address,
            };
            backend.shared |= backend.forwarding == Forwarding::Nat && shared.contains(&claim);
        }
    }
    if !shared.is_empty() {
        state.flows = state.flows.max(SHARED_FLOWS);
    }
}

/// The backend that is probed at an entry's address, and reached in another mode.
fn successor<'a>(entry: &Entry, service: &'a state::Service) -> Option<&'a state::Backend> {
    let mut staying = service.backends.iter().filter(|backend| !backend.leaving);
    staying.find(|backend| backend.address == entry.address)
}

/// The backends that are to stay, and not for their flows' sake alone: where, and how they are reached.
fn wanted_ones(service: &state::Service) -> foldhash::HashSet<(SocketAddr, Mode)> {
    let staying = service.backends.iter().filter(|backend| !backend.leaving);
    staying
        .map(|backend| (backend.address, backend.forwarding.mode()))
        .collect()
}

/// Whether another service has a NAT backend now, so that its replies are that one's: those of flows that nobody
/// remembers, where it is asked for first.
fn is_taken(vip: Vip, entry: &Entry, claimed: &[Claim]) -> bool {
    let claim = Claim {
        vip,
        backend: entry.address,
    };
    let is_ours = entry.forwarding != Forwarding::Nat || entry.shared;
    !is_ours && claimed.iter().any(|other| claim.is_overruled_by(other))
}

/// `known`: health, and whether it keeps its flows, where somebody asks the backend in another mode.
fn backend(
    entry: Entry,
    forwarding: Forwarding,
    known: Option<(Health, bool)>,
) -> Option<state::Backend> {
    let (health, keeps) = known.unwrap_or((health_of(entry.state)?, true));
    Some(state::Backend {
        address: entry.address,
        forwarding,
        shared: entry.shared,
        weight: 0,
        health,
        live: false,
        part: Part::WHOLE,
        keeps,
        leaving: true,
        next_hop: entry.next_hop,
        mtu: entry.mtu,
    })
}

impl Service {
    /// Its entries that are not wanted and that a row or a flow may name. What died has none.
    fn leaving(&self, wanted: &state::Service, tracks: &Tracks) -> Vec<Entry> {
        let wanted = wanted_ones(wanted);
        let may_leave = |(_, entry): &(u16, Entry)| {
            let who = (entry.address, entry.forwarding.mode());
            entry.state != Word::Down && !wanted.contains(&who)
        };
        let leaving: Vec<_> = self.by_offset().filter(may_leave).collect();
        if leaving.is_empty() {
            return Vec::new();
        }
        let in_rows = self.named();
        let has_flows = |offset| in_rows.has(offset) || self.may_be_tracked(offset, tracks);
        let leaving = leaving.into_iter();
        leaving
            .filter_map(|(offset, entry)| has_flows(offset).then_some(entry))
            .collect()
    }

    /// Whether a tracked flow may name who is on their way out, as far as is known.
    fn may_be_tracked(&self, offset: u16, tracks: &Tracks) -> bool {
        self.lingering
            .get(&offset)
            .is_none_or(|since| tracks.began <= since + 1 || tracks.owners.contains(&offset))
    }

    /// Whether a row or a flow names the backend of an address, as far as is known.
    pub(crate) fn has_flows_of(&self, address: SocketAddr, tracks: &Tracks) -> bool {
        let in_rows = self.named();
        let mut entries = self
            .by_offset()
            .filter(|(_, entry)| entry.address == address);
        entries.any(|(offset, _)| in_rows.has(offset) || self.may_be_tracked(offset, tracks))
    }

    /// Takes note of entries on their way out that no row names.
    pub(super) fn note_lingering(&mut self, wanted: &state::Service, now: u32) {
        if !wanted.backends.iter().any(|backend| backend.leaving) {
            return self.lingering.clear();
        }
        let named = self.named();
        let before = std::mem::take(&mut self.lingering);
        let wanted = wanted_ones(wanted);
        let gone = self.by_offset().filter(|(offset, entry)| {
            !named.has(*offset) && !wanted.contains(&(entry.address, entry.forwarding.mode()))
        });
        let since = |offset| before.get(&offset).copied().unwrap_or(now);
        self.lingering = gone.map(|(offset, _)| (offset, since(offset))).collect();
    }

    /// Who is named by rows.
    fn named(&self) -> Named {
        let mut named = vec![false; usize::from(u16::MAX) + 1];
        for owner in self.rows.iter().flat_map(|row| [row.primary(), row.old()]) {
            if let Some(place) = named.get_mut(owner as usize) {
                *place = true;
            }
        }
        Named(named)
    }
}

/// Whom rows name, by the distance from the header: rows are many, and a set of owners is slow to fill.
struct Named(Vec<bool>);

impl Named {
    fn has(&self, offset: u16) -> bool {
        self.0.get(usize::from(offset)).copied().unwrap_or(false)
    }
}
