use proptest::prelude::*;

use super::*;
use crate::{
    config,
    desired::{
        quorum::{self, Short},
        state::examples::probed,
    },
    health::Health,
    slot_table::Part,
};

/// Two primaries, two backups, one of last resort.
fn config(guards: &str) -> Config {
    let text = format!(
        "interfaces: [lo]\nservices:\n\
         - {{ name: web, vip: 203.0.113.10:80/tcp, {guards}, backends: [10.0.0.11:80, 10.0.0.12:80, \
         {{ address: 10.0.0.13:80, backup: true }}, {{ address: 10.0.0.14:80, tier: 1 }}, \
         {{ address: 10.0.0.15:80, tier: 7 }}] }}\n"
    );
    config::parse("xlb.yaml", text.as_bytes()).unwrap().config
}

const UP: Health = Health::Up;
const DOWN: Health = Health::Down;
const UNKNOWN: Health = Health::Unknown;

/// Who takes flows, of those of whom this is known.
fn live(config: &Config, health: [Health; 5], in_use: &mut InUse) -> [bool; 5] {
    let mut state = probed(config, health);
    apply(&mut state, config, in_use);
    let backends = &state.services[0].backends;
    std::array::from_fn(|index| backends[index].live)
}

#[test]
fn backups_stand_by_until_no_primary_is_left() {
    let config = config("idle: 1s");
    let mut in_use = InUse::new();
    let mut live = |health| live(&config, health, &mut in_use);
    let primaries = [true, true, false, false, false];
    assert_eq!(live([UP; 5]), primaries);
    assert_eq!(
        live([UP, DOWN, UP, UP, UP]),
        [true, false, false, false, false]
    );
    assert_eq!(
        live([DOWN, DOWN, UP, UP, UP]),
        [false, false, true, true, false]
    );
    assert_eq!(
        live([DOWN, DOWN, DOWN, DOWN, UP]),
        [false, false, false, false, true]
    );
    assert_eq!(live([DOWN; 5]), [false; 5]);
    assert_eq!(
        live([DOWN, UP, UP, UP, UP]),
        [false, true, false, false, false]
    );
}

#[test]
fn they_stand_by_without_slots_and_with_their_flows() {
    let config = config("idle: 1s");
    let mut state = probed(&config, [UP; 5]);
    apply(&mut state, &config, &mut InUse::new());
    let shown = state.services[0].backends.iter();
    let shown: Vec<_> = shown
        .map(|it| (it.weight, it.live, it.keeps, it.health))
        .collect();
    assert_eq!(shown[..2], [(1, true, true, UP); 2]);
    assert_eq!(shown[2..], [(0, false, true, UP); 3]);
}

/// Nobody is left who gets new flows: those that are kept out because they fall too often, or fail by their packets, come
/// after backups.
#[test]
fn backups_come_before_primaries_that_are_kept_out() {
    let config = config("idle: 1s");
    let mut state = probed(&config, [UP; 5]);
    for primary in &mut state.services[0].backends[..2] {
        primary.part = Part::NONE;
    }
    apply(&mut state, &config, &mut InUse::new());
    quorum::apply(&mut state, &config, &mut Short::new(), |_, _| true);
    let takes: Vec<_> = state.services[0]
        .backends
        .iter()
        .map(Backend::takes)
        .collect();
    assert_eq!(takes, [false, false, true, true, false]);
}

#[test]
fn those_that_are_left_go_on_with_the_backups() {
    let config = config("backup_below: 100%");
    let mut in_use = InUse::new();
    let live = live(&config, [UP, DOWN, UP, UP, UP], &mut in_use);
    assert_eq!(live, [true, false, true, true, false]);
}

#[test]
fn a_backup_that_came_in_stays_until_there_are_some_more() {
    let config = config("backup_below: { count: 1, hysteresis: 1 }");
    let mut in_use = InUse::new();
    let mut live = |health| live(&config, health, &mut in_use);
    let one = [UP, DOWN, UP, UP, UP];
    assert_eq!(live(one), [true, false, false, false, false]);
    assert_eq!(
        live([DOWN, DOWN, UP, UP, UP]),
        [false, false, true, true, false]
    );
    assert_eq!(live(one), [true, false, true, true, false]);
    assert_eq!(live([UP; 5]), [true, true, false, false, false]);
    assert_eq!(live(one), [true, false, false, false, false]);
}

#[test]
fn what_is_not_known_yet_is_waited_for() {
    let config = config("idle: 1s");
    let mut in_use = InUse::new();
    let mut live = |health| live(&config, health, &mut in_use);
    assert_eq!(live([UNKNOWN, UNKNOWN, UP, UP, UP]), [false; 5]);
    assert_eq!(live([DOWN, UNKNOWN, UP, UP, UP]), [false; 5]);
    let backups = [false, false, true, true, false];
    assert_eq!(live([DOWN, DOWN, UP, UP, UP]), backups);
    assert_eq!(live([UNKNOWN, DOWN, UP, UP, UP]), backups, "they are in");
}

#[test]
fn a_change_is_told_once() {
    let config = config("min_up: 2");
    let mut in_use = InUse::new();
    let mut told = |health| {
        let turns = apply(&mut probed(&config, health), &config, &mut in_use);
        turns
            .into_iter()
            .map(|turn| (turn.to_string(), turn.is_higher))
            .collect::<Vec<_>>()
    };
    assert!(told([UNKNOWN; 5]).is_empty());
    assert!(told([UP; 5]).is_empty());
    let cause = "tier 1 is the last in use: 1 of 2 primaries can take flows, 2 have to";
    assert_eq!(told([UP, DOWN, UP, UP, UP]), [(cause.to_owned(), true)]);
    assert!(told([UP, DOWN, UP, DOWN, UP]).is_empty());
    let cause = "tier 0 is the last in use: 2 of 2 primaries can take flows, 2 have to";
    assert_eq!(told([UP; 5]), [(cause.to_owned(), false)]);
}

/// A quorum is of those that may take flows: what stands by is neither counted nor waited for.
#[test]
fn backups_make_up_a_quorum_where_primaries_do_not() {
    let config = config("min_up: { count: 2, hysteresis: 9 }");
    let (mut in_use, mut short) = (InUse::new(), Short::new());
    let mut live = |health| {
        let mut state = probed(&config, health);
        apply(&mut state, &config, &mut in_use);
        quorum::apply(&mut state, &config, &mut short, |_, _| true);
        let backends = state.services[0].backends.iter();
        backends.filter(|backend| backend.live).count()
    };
    assert_eq!(live([UP; 5]), 2);
    assert_eq!(live([UP, DOWN, UP, UP, UP]), 3);
    assert_eq!(live([DOWN, DOWN, DOWN, DOWN, UP]), 0);
    assert_eq!(live([UP; 5]), 2);
}

#[test]
fn a_service_that_needs_more_than_its_primaries_has_its_backups_always() {
    let config = config("min_up: 3");
    let mut in_use = InUse::new();
    for _ in 0..3 {
        assert_eq!(
            live(&config, [UP; 5], &mut in_use),
            [true, true, true, true, false]
        );
    }
}

fn any_health() -> impl Strategy<Value = [Health; 5]> {
    prop::array::uniform5(prop::sample::select(vec![UP, DOWN, UNKNOWN]))
}

proptest! {
    /// Whatever comes after whatever: tiers are used up to one, enough of which can take flows, or to the last; and
    /// looking again changes nothing.
    #[test]
    fn tiers_are_used_as_far_as_needed(
        history in prop::collection::vec(any_health(), 1..20),
        below in 1_usize..=2,
        hysteresis in 0_usize..3,
    ) {
        let config = config(&format!("backup_below: {{ count: {below}, hysteresis: {hysteresis} }}"));
        let vip = config.services[0].vip;
        let tiers = [0_u8, 0, 1, 1, 7];
        let mut in_use = InUse::new();
        for health in history {
            let live = live(&config, health, &mut in_use);
            let tier = in_use[&vip];
            for (number, (health, live)) in tiers.iter().zip(health.into_iter().zip(live)) {
                prop_assert_eq!(live, health == UP && *number <= tier);
            }
            let known = health.iter().zip(tiers).filter(|(_, number)| *number <= tier);
            let may_be_up = known.filter(|(health, _)| **health != DOWN).count();
            prop_assert!(tier == 7 || may_be_up >= below);
            let up_before = health.iter().zip(tiers).filter(|(_, number)| *number < tier);
            let up_before = up_before.filter(|(health, _)| **health == UP).count();
            prop_assert!(tier == 0 || up_before < below + hysteresis);
            let again = apply(&mut probed(&config, health), &config, &mut in_use);
            prop_assert!(again.is_empty(), "{:?}", again);
        }
    }

    /// One that comes and goes does not make backups come and go, where the hysteresis is as large.
    #[test]
    fn backups_do_not_flap(flapping in prop::collection::vec(any::<bool>(), 0..40)) {
        let config = config("backup_below: { count: 1, hysteresis: 1 }");
        let mut in_use = InUse::new();
        let mut turns = 0;
        for is_up in flapping {
            let health = [if is_up { UP } else { DOWN }, DOWN, UP, UP, UP];
            turns += apply(&mut probed(&config, health), &config, &mut in_use).len();
        }
        prop_assert!(turns <= 1);
    }
}
