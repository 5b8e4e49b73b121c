//! The laws of [`diff`](super::diff), on random states.

mod look;
mod peering;
mod samples;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::{
    address::Address,
    backend::Mode,
    directory::{Key, Kind, LOCAL, Seed, Set, VIP, Way},
    interface::Interface,
    maps::{Control, Feature},
    next_hop::NextHop,
    pool,
    range::{self, Ranges},
    row::{Row, Times},
};
use proptest::prelude::*;

use super::{
    change::Change,
    claims::Claim,
    diff::{Plan, Refused, diff},
    entry::Entry,
    growth::{Fit, fit},
    health_of, indexed,
    installed::Installed,
    leaving::{Moment, Tracks},
    ram::{Event, Ram},
    rest::{Rested, rest},
    specialisation::Specialisation,
    state::{
        Action, Backend, Forwarding, Patience, Pool, Route, Routes, Service, State, TunnelSource,
    },
    store::{Region, Store},
};
use crate::{
    config::model::{PortRange, Ports, Protocol, Vip},
    dataplane::sizes::{Sizes, elements},
    desired::adopt,
    health::Health,
    slot_table::Part,
};

use self::{look::*, samples::*};

const SEED: u64 = 0x5eed;
const NEXT_HOP: usize = core::mem::offset_of!(lb_common::backend::Backend, next_hop);
/// Regions whose elements are written while nothing names them.
/// When everything happens.
const NOW: u32 = 1000;
const FRESH: [Region; 5] = [
    Region::Backends,
    Region::Slots,
    Region::Ranges,
    Region::Pools,
    Region::Paths,
];
const SIZES: Sizes = Sizes {
    sets: 64,
    elements: 64,
    backends: 256,
    interfaces: 16,
    lists: 64,
    pools: 8,
    paths: 64,
    flows: 64,
    buckets: 8,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The maps say what is desired, however they came to their state; and what the planner believes
    /// of them is what a next daemon reads.
    #[test]
    fn applying_the_difference_installs_the_state(states in prop::collection::vec(state(), 1..5)) {
        let mut maps = Maps::new();
        for state in &states {
            maps.install(state);
            let read = maps.adopted();
            prop_assert_eq!(said(&read), wanted(state));
            prop_assert_eq!(places(&read), places(&maps.installed));
        }
    }

    /// Nothing is done where nothing differs, neither by this daemon nor by the next.
    #[test]
    fn no_difference_no_change(before in state(), state in state()) {
        let mut maps = Maps::new();
        maps.install(&before);
        maps.install(&state);
        prop_assert_eq!(replan(&maps.installed, &state), vec![]);
        prop_assert_eq!(replan(&maps.adopted(), &state), vec![]);
    }

    /// After every single store, each row of a VIP with a live backend before and after leads to a
    /// backend that is live before or after.
    #[test]
    fn every_prefix_of_the_stores_forwards(a in state(), b in state(), c in state()) {
        let mut maps = Maps::new();
        maps.install(&a);
        for (before, after) in [(&a, &b), (&b, &c)] {
            let mut watched = maps.ram.clone();
            maps.install(after);
            for event in &maps.ram.journal {
                watched.replay(*event);
                assert_forwards(&watched, before, after);
            }
        }
    }

    /// A daemon that was killed between any two stores is followed by one that installs the state.
    #[test]
    fn a_kill_at_any_store_is_survived(a in state(), b in state(), at in any::<prop::sample::Index>()) {
        let mut maps = Maps::new();
        maps.install(&a);
        let mut ram = maps.ram.clone();
        maps.install(&b);
        for event in &maps.ram.journal[..at.index(maps.ram.journal.len() + 1)] {
            ram.replay(*event);
        }
        let installed = adopt(&ram, SEED, &SIZES).unwrap();
        let mut next = Maps { ram, installed };
        next.install(&b);
        prop_assert_eq!(said(&next.adopted()), wanted(&b));
    }

    /// What no packet may see any more is written to only after a grace period.
    #[test]
    fn nothing_is_used_again_too_early(states in prop::collection::vec(state(), 2..5)) {
        let mut maps = Maps::new();
        for state in &states {
            let seen = visible(&maps.ram);
            let mut grace = false;
            maps.install(state);
            for event in &maps.ram.journal {
                grace |= *event == Event::Grace;
                if let Event::U64(region, offset, _) = event
                    && FRESH.contains(region)
                {
                    // The way to a backend is one word of an entry in use.
                    if *region == Region::Backends && offset % 64 == NEXT_HOP {
                        continue;
                    }
                    let index = u32::try_from(offset / region.element_bytes()).unwrap();
                    prop_assert!(grace || !seen.contains(&(*region, index)), "{event:?}");
                }
            }
        }
    }

    /// A reply of a NAT backend is a service's that has it on that port; where several have it, that of
    /// the one that answered before.
    #[test]
    fn a_reply_finds_a_service_and_keeps_it(a in state(), b in state()) {
        let mut maps = Maps::new();
        maps.install(&a);
        let before: Vec<_> = replies(&a).map(|(_, at)| (at, reply_pair(&maps.ram, at))).collect();
        let owner = |maps: &Maps, pair: Option<u32>| maps.installed.owner(pair.unwrap());
        let before: BTreeMap<_, _> =
            before.into_iter().map(|(at, pair)| (at, owner(&maps, pair))).collect();
        maps.install(&b);
        let wanted: Vec<_> = replies(&b).collect();
        for (claim, at) in &wanted {
            let owner = owner(&maps, reply_pair(&maps.ram, *at));
            prop_assert_eq!(owner.backend.ip(), claim.backend.ip());
            let (ports, other) = (Ports::One(at.port()), owner.ports());
            prop_assert!(other.overlap(ports), "{} of {}", at, other);
            let stays = |claim: &Claim| wanted.iter().any(|(other, _)| other == claim);
            if let Some(senior) = before.get(at).filter(|senior| stays(senior)) {
                // What is new and more precise goes before.
                let precise = |claim: &Claim| core::mem::discriminant(&claim.vip.ports);
                prop_assert!(owner == *senior || precise(&owner) != precise(senior));
            }
        }
    }

    /// Neither the order of the file nor what was before has a say in who owns a slot.
    #[test]
    fn history_leaves_no_trace_in_the_rows(a in state(), b in state()) {
        let (mut long, mut short) = (Maps::new(), Maps::new());
        long.install(&a);
        long.install(&b);
        let mut reversed = b.clone();
        for service in &mut reversed.services {
            service.backends.reverse();
        }
        short.install(&reversed);
        prop_assert_eq!(owners(&long.installed), owners(&short.installed));
    }
}

#[test]
fn a_state_that_outgrows_a_map_is_planned_for_a_larger_one() {
    let installed = Installed::empty(SEED, &SIZES);
    let mut state = State::default();
    state.services.push(service(0, 1 << 12, 0..2));
    let refused = plan(&installed, &state).unwrap_err();
    assert_eq!(
        refused,
        Refused::Outgrown {
            map: "SLOTS",
            needs: 256,
            has: 64
        }
    );
    let tracks = Tracks::default();
    let moment = moment(&tracks);
    let Fit { plan, growth } = fit(&installed, &state, &moment, &SIZES).unwrap();
    let (sizes, grown) = growth.unwrap();
    let expected = Sizes {
        elements: 256,
        ..SIZES
    };
    assert_eq!(sizes, expected);
    let changes = diff(&grown, &state, &moment).unwrap().changes;
    assert_eq!(plan.changes, changes);
    // What fits goes into the maps that there are.
    let again = fit(&plan.after, &state, &moment, &sizes).unwrap();
    assert!(again.growth.is_none() && again.plan.changes.is_empty());
}

#[test]
fn a_state_for_which_no_map_is_large_enough_is_refused() {
    let installed = Installed::empty(SEED, &SIZES);
    let mut state = State::default();
    state.interfaces.insert(1 << 24, Interface::default());
    let refused = fit(&installed, &state, &moment(&Tracks::default()), &SIZES).unwrap_err();
    assert!(matches!(refused, Refused::Outgrown { .. }), "{refused}");
    assert!(refused.to_string().contains("INTERFACES"), "{refused}");
    assert!(refused.to_string().contains("divide"), "{refused}");
}

#[test]
fn a_health_event_stores_the_state_and_the_rows_of_one_backend() {
    let mut maps = Maps::new();
    let mut state = State::default();
    state.services.push(service(0, 256, 0..10));
    maps.install(&state);
    state.services[0].backends[3].health = Health::Down;
    state.services[0].backends[3].live = false;
    let changes = replan(&maps.installed, &state);
    let [Change::SetStanding { .. }, Change::Rows { rows, .. }] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert!((25..=26).contains(&rows.len()), "{}", rows.len());
}

#[test]
fn a_share_that_grows_stores_rows_of_that_backend_and_nothing_else() {
    let mut maps = Maps::new();
    let mut state = State::default();
    state.services.push(service(0, 256, 0..10));
    state.services[0].backends[3].part = Part::of(10);
    maps.install(&state);
    let mut shares = Vec::new();
    for percent in [20, 50, 90, 100] {
        state.services[0].backends[3].part = Part::of(percent);
        let changes = replan(&maps.installed, &state);
        let [Change::Rows { rows, .. }] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        assert!(rows.iter().all(|(_, row)| row.primary() == 4));
        maps.install(&state);
        let own = vip(0);
        let shared = maps.installed.service(own).unwrap().shares();
        shares.push(
            *shared
                .get(&(maps.installed.service(own).unwrap().extent + 4))
                .unwrap(),
        );
    }
    assert!(
        shares.is_sorted() && (25..=26).contains(&shares[3]),
        "{shares:?}"
    );
}

#[test]
fn counters_go_on_when_a_service_outgrows_its_extent_and_begin_at_zero_for_others() {
    let mut maps = Maps::new();
    let mut state = State::default();
    state.services.push(service(0, 16, 0..2));
    maps.install(&state);
    for traffic in &mut maps.ram.traffic {
        *traffic = 7;
    }
    state.services[0] = service(0, 16, 0..30);
    maps.install(&state);
    let service = maps.installed.service(vip(0)).unwrap();
    let packets: BTreeMap<_, _> = service
        .backends()
        .map(|(pair, entry)| (entry.address, maps.ram.traffic[pair as usize]))
        .collect();
    for i in 0..30 {
        assert_eq!(packets[&backend_address(0, i)], if i < 2 { 7 } else { 0 });
    }
}

#[test]
fn a_shared_backend_answers_for_the_service_that_was_there_first() {
    let mut maps = Maps::new();
    let mut state = State::default();
    let mut second = service(2, 16, 0..1);
    second.backends[0].address = backend_address(0, 0);
    state.services = vec![second];
    maps.install(&state);
    state.services.insert(0, service(0, 16, 0..1));
    maps.install(&state);
    assert_eq!(maps.reply_vip(0), Some(vip(2)));
    state.services.pop();
    maps.install(&state);
    assert_eq!(maps.reply_vip(0), Some(vip(0)));
}

fn plan(installed: &Installed, state: &State) -> Result<Plan, Refused> {
    plan_after(installed, state, &Tracks::default())
}

fn plan_after(installed: &Installed, state: &State, tracks: &Tracks) -> Result<Plan, Refused> {
    diff(installed, state, &moment(tracks))
}

fn moment(tracks: &Tracks) -> Moment<'_> {
    Moment {
        now: NOW,
        tracks,
        has_traffic: &|_| true,
    }
}

/// What a look after all changes says: nobody has flows.
fn looked() -> Tracks {
    Tracks {
        began: NOW + 2,
        ..Tracks::default()
    }
}

/// The steps to a state.
fn replan(installed: &Installed, state: &State) -> Vec<Change> {
    plan(installed, state).unwrap().changes
}

/// What is not configured any more stays for its flows' sake: its entry, the rows' history and the way back.
#[test]
fn a_backend_that_is_removed_stays_until_nobody_names_it() {
    let mut maps = Maps::new();
    let mut state = State {
        tracks: true,
        ..State::default()
    };
    state.services.push(service(0, 64, 0..3));
    maps.install(&state);
    state.services[0].backends.pop();
    maps.install(&state);
    let there = |maps: &Maps| {
        let service = maps.installed.service(vip(0)).unwrap();
        (service.moving_rows() > 0, service.backends().count())
    };
    assert_eq!(there(&maps), (true, 3));
    assert_eq!(
        there(&Maps {
            installed: maps.adopted(),
            ..maps.clone()
        }),
        (true, 3)
    );
    assert_eq!(owner_of_reply(&maps, 2), Some(backend_address(0, 2)));

    // Rows at rest name nobody, and so do flows, as a later look says.
    maps.rest();
    maps.install(&state);
    assert_eq!(there(&maps), (false, 3), "a flow may name it");
    maps.install_after(&state, &looked());
    assert_eq!(there(&maps), (false, 2));
}

/// In the header of an extent that is in use.
#[test]
fn what_flows_are_to_a_service_may_change() {
    let mut maps = Maps::new();
    let mut state = State {
        services: vec![service(0, 64, 0..2)],
        ..State::default()
    };
    maps.install(&state);
    let patience = Patience {
        idle: 7,
        deadline: 8,
        resets: true,
        learns: true,
        hands_over: false,
        refuses: true,
        affinity: 24,
    };
    state.services[0].patience = patience;
    maps.install(&state);
    let adopted = maps.adopted();
    assert_eq!(adopted.service(vip(0)).unwrap().patience, patience);
}

/// Of two services that share a NAT backend, or of which one gets it from the other, the one that has it no more keeps
/// its flows there: replies are told apart as long as it does.
#[test]
fn a_backend_that_another_service_has_stays_for_its_flows() {
    for is_shared_before in [true, false] {
        let mut maps = Maps::new();
        let mut state = State {
            tracks: true,
            ..State::default()
        };
        state.services = vec![service(0, 64, 0..2), service(2, 64, 2..4)];
        if is_shared_before {
            state.services[0].backends[1].shared = true;
            let shared = state.services[0].backends[1].clone();
            state.services[1].backends.push(shared);
        }
        maps.install(&state);
        state.services[0].backends.pop();
        state.services[1] = service(2, 64, 1..4);
        maps.install(&state);
        let marks = |maps: &Maps| {
            let services = [0, 2].map(|number| maps.installed.service(vip(number)).unwrap());
            services.map(|service| {
                let mut entries = service.backends().map(|(_, entry)| entry);
                let it = entries.find(|entry| entry.address == backend_address(0, 1));
                it.map(|entry| entry.shared)
            })
        };
        assert_eq!(marks(&maps), [Some(true), Some(true)]);
        assert_eq!(maps.reply_vip(1), Some(vip(0)), "who was there first");
        let plan = plan(&maps.installed, &state).unwrap();
        assert!(plan.specialisation.features & Feature::Shared as u32 != 0);
        assert!(plan.changes.is_empty(), "{:?}", plan.changes);
        assert!(
            fit(&maps.installed, &state, &moment(&Tracks::default()), &SIZES)
                .unwrap()
                .growth
                .is_some(),
            "flows want room"
        );

        // Nobody's flows any more.
        maps.rest();
        maps.install(&state);
        maps.install_after(&state, &looked());
        assert_eq!(marks(&maps), [None, Some(false)]);
        assert_eq!(maps.reply_vip(1), Some(vip(2)));
    }
}

/// Ports of a range are asked for after a single one, so that replies are the other service's at once.
#[test]
fn a_backend_of_a_range_that_a_single_port_gets_does_not_stay() {
    let mut maps = Maps::new();
    let mut state = State {
        tracks: true,
        ..State::default()
    };
    state.services = vec![service(0, 64, 0..2), service(2, 64, 2..4)];
    let ports = Ports::Range(PortRange {
        first: 80,
        last: 89,
    });
    state.services[0].vip.ports = ports;
    maps.install(&state);
    state.services[0].backends.pop();
    state.services[1] = service(2, 64, 1..4);
    let range = state.services[0].vip;
    maps.install(&state);
    let first = maps.installed.service(range).unwrap();
    assert_eq!(first.backends().count(), 1);
    let Rested { after, .. } = rest(&maps.installed, |_, _| Times::unseen(NOW), NOW + 2, 0);
    assert_eq!(after.service(range).unwrap().moving_rows(), 0);
}

/// A backend that stays is reached as before, whatever the others do.
#[test]
fn the_program_can_do_what_flows_of_removed_backends_need() {
    let mut maps = Maps::new();
    let mut state = State {
        tracks: true,
        ..State::default()
    };
    state.services = vec![service(0, 64, 0..2)];
    state.services[0].backends[1].forwarding = Forwarding::L2Dsr;
    maps.install(&state);
    state.services[0].backends.pop();
    let modes = plan(&maps.installed, &state).unwrap().specialisation.modes;
    assert_eq!(modes, Mode::Nat.bit() | Mode::L2Dsr.bit());
}

/// Its entry in the new mode owns the slots that the one in the old mode did.
#[test]
fn new_flows_go_by_a_backends_new_mode() {
    let mut maps = Maps::new();
    let mut state = State {
        tracks: true,
        ..State::default()
    };
    state.services = vec![service(0, 64, 0..2)];
    maps.install(&state);
    state.services[0].backends[1].forwarding = Forwarding::L2Dsr;
    maps.install(&state);
    let service = maps.installed.service(vip(0)).unwrap();
    let of = |forwarding| {
        let mut backends = service.backends();
        let is_it = |entry: &Entry| entry.identity() == (backend_address(0, 1), forwarding);
        backends.find(|(_, entry)| is_it(entry)).unwrap().0
    };
    let (before, after) = (of(Forwarding::Nat), of(Forwarding::L2Dsr));
    assert_eq!(service.pairs()[&backend_address(0, 1)], [after, before]);
    assert_eq!(service.shares().get(&before), None);
    assert_eq!(service.shares()[&after], service.leaving_shares()[&before]);

    // Dead in one mode is dead in the other.
    state.services[0].backends[1].health = Health::Down;
    state.services[0].backends[1].live = false;
    state.services[0].backends[1].keeps = false;
    maps.install(&state);
    let health = maps.installed.health();
    assert_eq!(health[&(vip(0), backend_address(0, 1))], Health::Down);
    maps.install(&state);
    let service = maps.installed.service(vip(0)).unwrap();
    assert_eq!(service.backends().count(), 2);
    assert_eq!(service.split().count(), 0, "no row names the dead");
}

/// Nobody died: flows go with their rows to the same backend, whatever becomes of those of the dead.
#[test]
fn a_tunnel_may_change_its_source() {
    let mut maps = Maps::new();
    let mut state = State {
        tracks: true,
        ..State::default()
    };
    state.services = vec![service(0, 64, 0..2)];
    state.services[0].patience.resets = true;
    let source = |last| TunnelSource {
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
        spread: 0,
    };
    state.services[0].backends[1].forwarding = Forwarding::Ipip(source(1));
    maps.install(&state);
    let before = owners(&maps.installed);
    state.services[0].backends[1].forwarding = Forwarding::Ipip(source(2));
    maps.install(&state);
    let service = maps.installed.service(vip(0)).unwrap();
    assert_eq!(service.backends().count(), 2);
    assert_eq!(owners(&maps.installed), before);
    assert!(
        service
            .rows
            .iter()
            .all(|row| row.old() != u32::from(Row::NONE)),
        "{:?}",
        service.rows
    );
}

fn owner_of_reply(maps: &Maps, backend: u8) -> Option<SocketAddr> {
    let pair = reply_pair(&maps.ram, backend_address(0, backend))?;
    Some(maps.installed.owner(pair).backend)
}

/// Maps in plain memory, and what the planner believes of them.
#[derive(Clone)]
struct Maps {
    ram: Ram,
    installed: Installed,
}

impl Maps {
    fn new() -> Self {
        Self {
            ram: Ram::new(&SIZES),
            installed: Installed::empty(SEED, &SIZES),
        }
    }

    fn install(&mut self, state: &State) {
        self.install_after(state, &Tracks::default());
    }

    fn install_after(&mut self, state: &State, tracks: &Tracks) {
        self.ram.forget();
        let plan = plan_after(&self.installed, state, tracks);
        let Plan { changes, after, .. } = plan.unwrap();
        for change in changes {
            change.apply(&mut self.ram).unwrap();
        }
        self.installed = after;
    }

    /// Lets all rows come to rest: nobody sent anything for long.
    fn rest(&mut self) {
        let late = NOW + 5000;
        let Rested { changes, after, .. } = rest(&self.installed, |_, _| Times::at(NOW), late, 0);
        for change in &changes {
            change.apply(&mut self.ram).unwrap();
        }
        self.installed = after;
    }

    fn adopted(&self) -> Installed {
        adopt(&self.ram, SEED, &SIZES).unwrap()
    }

    /// The VIP that replies of a backend of service 0 come from.
    fn reply_vip(&self, backend: u8) -> Option<Vip> {
        let address = backend_address(0, backend);
        let key = Key::new(Kind::Backend, address.ip().into(), address.port(), 6);
        let pair = u32::try_from(find(&self.ram, &key)?).unwrap();
        let entry: lb_common::backend::Backend = self.ram.read(Region::Backends, pair)?;
        let port = u16::from_be_bytes(entry.vip_port);
        Some(Vip {
            address: entry.vip.into(),
            ports: Ports::One(port),
            protocol: Protocol::Tcp,
        })
    }
}
