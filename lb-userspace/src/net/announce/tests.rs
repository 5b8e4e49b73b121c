//! Against the kernel, each test in a network namespace of its own.

use tokio::time::timeout;

use super::*;
use crate::net::sandbox::{self, ip};

const MARK: Mark = Mark {
    table: 77,
    protocol: 200,
};
const METRIC: u32 = 100;
const V4: &str = "203.0.113.10";
const V6: &str = "2001:db8:f::10";
const PATIENCE: Duration = Duration::from_secs(10);

fn wanted(mark: Mark, metric: u32, addresses: &[&str]) -> Wanted {
    Wanted {
        place: Some((mark, metric)),
        addresses: addresses.iter().map(|text| address(text)).collect(),
    }
}

fn both() -> Wanted {
    wanted(MARK, METRIC, &[V4, V6])
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Starts, and waits for the first attempt.
async fn started(wanted: Wanted) -> Announcer {
    let announcer = Announcer::start(BTreeSet::new(), wanted);
    timeout(PATIENCE, announcer.settled()).await.unwrap();
    announcer
}

/// Wants something else, and waits for it.
async fn then(announcer: &Announcer, wanted: Wanted) -> Progress {
    announcer.want(wanted);
    timeout(PATIENCE, announcer.settled()).await.unwrap()
}

/// Addresses that are announced, as it says.
fn said(progress: &Progress) -> Vec<IpAddr> {
    progress.announced.keys().copied().collect()
}

/// What `ip` shows of a table, both families. Before its first route there is no table to ask for.
fn shown(table: u32) -> String {
    let all = ip("-4 route show table all") + &ip("-6 route show table all");
    let name = format!("table {table} ");
    let lines = all.lines().filter(|line| line.contains(&name));
    let lines: Vec<String> = lines.map(|line| line.replace(&name, "")).collect();
    lines.join("\n")
}

/// Waits until a table shows this.
async fn until(table: u32, what: impl Fn(&str) -> bool) {
    let seen = async {
        while !what(&shown(table)) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let text = || format!("table {table} shows {}", shown(table));
    timeout(PATIENCE, seen)
        .await
        .unwrap_or_else(|_| panic!("{}", text()));
}

#[test]
fn addresses_of_both_families_come_and_go() {
    sandbox::run(async || {
        let announcer = started(both()).await;
        assert_eq!(said(&announcer.progress()), [address(V4), address(V6)]);
        let text = shown(77);
        assert!(
            text.contains("blackhole 203.0.113.10 proto 200 metric 100"),
            "{text}"
        );
        assert!(text.contains("blackhole 2001:db8:f::10"), "{text}");
        let one = then(&announcer, wanted(MARK, METRIC, &[V6])).await;
        assert_eq!(said(&one), [address(V6)]);
        assert!(!shown(77).contains(V4));
        let none = then(&announcer, wanted(MARK, METRIC, &[])).await;
        assert_eq!(said(&none), [] as [IpAddr; 0]);
        assert_eq!(shown(77), "");
    });
}

#[test]
fn they_stay_without_the_process_and_the_next_one_knows_them() {
    sandbox::run(async || {
        drop(started(both()).await);
        let marks = BTreeSet::from([MARK]);
        let found = announced(&marks).await.unwrap();
        assert_eq!(found, both().addresses);
        let next = Announcer::start(marks, wanted(MARK, METRIC, &[V4]));
        let progress = timeout(PATIENCE, next.settled()).await.unwrap();
        assert_eq!(said(&progress), [address(V4)]);
        assert!(!shown(77).contains(V6));
    });
}

#[test]
fn what_somebody_changes_is_put_right() {
    sandbox::run(async || {
        let announcer = started(both()).await;
        ip("route del blackhole 203.0.113.10 table 77");
        until(77, |text| text.contains(V4)).await;
        ip("-6 route flush table 77");
        until(77, |text| text.contains(V6)).await;
        // Also what bears the mark and was never wanted, of whatever kind.
        ip("link set lo up");
        ip("route add unreachable 203.0.113.99 table 77 proto 200");
        ip("route add 203.0.113.98 dev lo table 77 proto 200");
        until(77, |text| !text.contains("203.0.113.9")).await;
        assert_eq!(said(&announcer.progress()), [address(V4), address(V6)]);
    });
}

#[test]
fn routes_of_others_are_left_alone() {
    sandbox::run(async || {
        ip("link set lo up");
        ip("route add blackhole 203.0.113.99 table 77 proto 201");
        ip("route add blackhole 203.0.113.98 table 78 proto 200");
        let announcer = started(both()).await;
        then(&announcer, Wanted::default()).await;
        let withdrawn = withdraw(&BTreeSet::from([MARK])).await.unwrap();
        assert_eq!(withdrawn, BTreeSet::new());
        assert!(shown(77).contains("203.0.113.99"));
        assert!(shown(78).contains("203.0.113.98"));
    });
}

#[test]
fn another_route_in_the_place_is_told_and_keeps_no_other_address() {
    sandbox::run(async || {
        ip("route add unreachable 203.0.113.10 table 77 proto 201 metric 100");
        let announcer = started(both()).await;
        let progress = announcer.progress();
        assert_eq!(said(&progress), [address(V6)]);
        let problem = progress.problem.unwrap();
        assert!(
            problem.contains("table 77 has another route to 203.0.113.10/32 with metric 100"),
            "{problem}"
        );
        ip("route del unreachable 203.0.113.10 table 77");
        until(77, |text| text.contains("blackhole 203.0.113.10")).await;
        let mended = async {
            while announcer.progress().problem.is_some() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, mended).await.unwrap();
    });
}

#[test]
fn a_table_a_mark_and_a_metric_are_changed() {
    sandbox::run(async || {
        let announcer = started(both()).await;
        let large = Mark {
            table: 1_000_000,
            protocol: 201,
        };
        for (mark, metric) in [
            (MARK, 7),
            (large, 7),
            (
                Mark {
                    protocol: 202,
                    ..large
                },
                9,
            ),
        ] {
            let progress = then(&announcer, wanted(mark, metric, &[V4, V6])).await;
            assert_eq!(progress.problem, None);
            assert_eq!(progress.marks, BTreeSet::from([mark]));
            let text = shown(mark.table);
            let proto = format!("proto {} metric {metric}", mark.protocol);
            assert_eq!(text.matches(&proto).count(), 2, "{text}");
            assert_eq!(text.lines().count(), 2, "{text}");
        }
        assert_eq!(shown(77), "");
        let nowhere = then(&announcer, Wanted::default()).await;
        assert_eq!((said(&nowhere), nowhere.marks), (vec![], BTreeSet::new()));
        assert_eq!(shown(large.table), "");
    });
}

#[test]
fn it_can_be_withdrawn_by_hand() {
    sandbox::run(async || {
        drop(started(both()).await);
        let marks = BTreeSet::from([MARK]);
        assert_eq!(withdraw(&marks).await.unwrap(), both().addresses);
        assert_eq!(shown(77), "");
        assert_eq!(announced(&marks).await.unwrap(), BTreeSet::new());
    });
}
