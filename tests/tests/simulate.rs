//! Designs under the same small trace: what the table of the README shows must hold whatever the figures are.

use lb_tests::simulate::{Flood, Kind, Outcome, Plan, play};

const CALM: Plan = Plan {
    seed: 11,
    seconds: 120,
    backends: 20,
    spare: 4,
    flows: 100,
    pause: 4,
    flood: None,
    balancers: 1,
    death: 0,
};
const FLOODED: Plan = Plan {
    flood: Some(Flood {
        from: 40,
        until: 80,
        rate: 5000,
    }),
    ..CALM
};
const FAILING: Plan = Plan {
    balancers: 3,
    death: 40,
    ..CALM
};
/// Enough for all flows, and not enough for those of a flood, too.
const ROOM: Kind = Kind::Lru(1 << 13);
const XLB: Kind = Kind::Xlb(1 << 15);
const FULL: Kind = Kind::Xlb(2);

#[test]
fn changes_break_what_nobody_remembers() {
    let maglev = play(Kind::Maglev, &CALM);
    assert_eq!(maglev.most_entries, 0);
    assert!(maglev.broken > maglev.flows / 1000, "{maglev:?}");
    let lru = play(ROOM, &CALM);
    assert_eq!(lru.broken, 0, "{lru:?}");
    assert!(lru.most_entries > lru.most_open);
    let thrashed = play(Kind::Lru(1 << 8), &CALM);
    assert!(thrashed.broken > 0, "{thrashed:?}");
}

#[test]
fn xlb_breaks_nothing_and_remembers_little() {
    let lru = play(ROOM, &CALM);
    let xlb = play(XLB, &CALM);
    assert_eq!((xlb.broken, xlb.refused), (0, 0), "{xlb:?}");
    assert!(
        xlb.most_entries > 0 && xlb.most_entries < lru.most_entries,
        "{xlb:?}"
    );
    let Outcome { flows, died, .. } = xlb;
    assert!(flows == lru.flows && died > 0);
}

#[test]
fn a_flood_breaks_an_lru_and_not_a_table_that_never_evicts() {
    let lru = play(ROOM, &FLOODED);
    assert!(lru.broken > 0, "{lru:?}");
    let xlb = play(XLB, &FLOODED);
    assert_eq!(xlb.broken, 0, "{xlb:?}");
    let full = play(FULL, &FLOODED);
    assert_eq!(full.broken, 0, "{full:?}");
    assert!(full.refused > 0 && full.most_entries <= 16, "{full:?}");
}

/// Alone, a balancer does not know which flows of moved rows another one had: fewer than Maglev moves.
#[test]
fn a_balancer_that_dies_takes_what_it_tracked_along() {
    let maglev = play(Kind::Maglev, &FAILING);
    let xlb = play(XLB, &FAILING);
    assert!(
        xlb.broken > 0 && xlb.broken < maglev.broken,
        "{xlb:?} {maglev:?}"
    );
}

#[test]
fn a_seed_says_everything() {
    assert_eq!(play(Kind::Maglev, &FAILING), play(Kind::Maglev, &FAILING));
    let other = Plan {
        seed: 12,
        ..FAILING
    };
    assert_ne!(play(Kind::Maglev, &FAILING), play(Kind::Maglev, &other));
}
