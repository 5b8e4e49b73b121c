//! The page as Prometheus reads it.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use lb_common::{AnswerReason, DropReason, PassReason};
use tokio::time::Instant;

use super::*;
use crate::{
    api::{
        samples,
        types::{
            BackendEvents, CountItem, Health, PeerItem, ProbeCounts, ReceiverItem, TransitionCounts,
        },
    },
    health::{Event, Outcome},
};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The end of a probe of the service `web`, which began three milliseconds late.
fn ended(backend: SocketAddr, outcome: Outcome, latency: Duration) -> Event {
    Event {
        advised: None,
        rises: false,
        suppressed: None,
        service: "web".into(),
        backend,
        transition: None,
        held: None,
        lasted: Duration::ZERO,
        outcome,
        latency,
        late: Duration::from_millis(3),
        at: Instant::now(),
    }
}

fn text() -> String {
    let mut events = Events::try_new().unwrap();
    let b1 = address("10.0.0.11:8080");
    events.follow([("web", HashSet::from([b1]))]);
    events.probe(&ended(b1, Outcome::Ok, Duration::from_micros(300)));
    events.reaction(Duration::from_micros(900));
    page(&events.gather(), &samples::observation()).unwrap()
}

/// Family → its type.
fn families(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect()
}

#[test]
fn names_follow_the_rules() {
    for (name, kind) in families(&text()) {
        assert!(name.starts_with("xlb_"), "{name}");
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(plain, "{name}");
        assert_eq!(
            kind == "counter",
            name.ends_with("_total"),
            "{name} is a {kind}"
        );
        for unit in ["_ms", "_us", "_count", "_rx", "_tx", "_size"] {
            assert!(!name.ends_with(unit), "{name}");
        }
    }
}

#[test]
fn every_family_has_help_and_samples() {
    let text = text();
    for name in families(&text).keys() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "{name} has no sample"
        );
    }
}

#[test]
fn every_reason_is_there_from_the_start() {
    let text = text();
    for reason in DropReason::ALL {
        let sample = format!(
            "xlb_dropped_packets_total{{reason=\"{}\"}} 0",
            reason.label()
        );
        assert!(text.contains(&sample), "{sample}");
    }
    for reason in AnswerReason::ALL {
        let sample = format!(
            "xlb_answered_packets_total{{reason=\"{}\"}} 0",
            reason.label()
        );
        assert!(text.contains(&sample), "{sample}");
    }
    for reason in PassReason::ALL {
        let sample = format!(
            "xlb_passed_packets_total{{reason=\"{}\"}} 0",
            reason.label()
        );
        assert!(text.contains(&sample), "{sample}");
    }
    for reason in AnswerReason::ALL {
        let sample = format!(
            "xlb_answered_packets_total{{reason=\"{}\"}} 0",
            reason.label()
        );
        assert!(text.contains(&sample), "{sample}");
    }
}

#[test]
fn a_backend_is_told_by_service_and_name() {
    let text = text();
    for sample in [
        "xlb_backend_up{service=\"web\",backend=\"b1\"} 1",
        "xlb_backend_up{service=\"web\",backend=\"b2\"} 0",
        "xlb_backend_packets_total{service=\"web\",backend=\"b1\"} 7",
        "xlb_service_up{service=\"web\"} 1",
        "xlb_vip_announced{vip=\"203.0.113.10\"} 1",
        "xlb_vip_announced{vip=\"2001:db8::10\"} 0",
        "xlb_full_nat_places{service=\"web\",backend=\"b1\"} 22768",
        "xlb_full_nat_places_used{service=\"web\",backend=\"b1\"} 5",
        "xlb_backend_weight_percent{service=\"web\",backend=\"b1\"} 100",
        "xlb_backend_advised_percent{service=\"web\",backend=\"b1\"} 75",
        "xlb_backend_invalid_advice_total{service=\"web\",backend=\"b1\"} 2",
        "xlb_service_backends{service=\"web\",state=\"down\"} 1",
        "xlb_probe_attempts_total{service=\"web\",backend=\"b1\",result=\"ok\"} 9",
        "xlb_probe_attempts_total{service=\"web\",backend=\"b1\",result=\"timeout\"} 0",
        "xlb_probe_duration_seconds_bucket{service=\"web\",le=\"0.0005\"} 1",
        "xlb_backend_transitions_total{service=\"web\",backend=\"b1\",to=\"up\"} 1",
        "xlb_probe_lateness_seconds_bucket{le=\"0.002\"} 0",
        "xlb_probe_lateness_seconds_bucket{le=\"0.005\"} 1",
        "xlb_health_reaction_seconds_bucket{le=\"0.0005\"} 0",
        "xlb_health_reaction_seconds_bucket{le=\"0.001\"} 1",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
    }
}

#[test]
fn what_is_gone_is_forgotten_and_what_stays_counts_on() {
    let mut events = Events::try_new().unwrap();
    let [b1, b2] = ["10.0.0.11:8080", "10.0.0.12:8080"].map(address);
    events.follow([
        ("web", HashSet::from([b1, b2])),
        ("dns", HashSet::from([b1])),
    ]);
    for backend in [b1, b2] {
        events.probe(&ended(backend, Outcome::Refused, Duration::from_micros(30)));
        events.transition("web", backend, Health::Down);
    }
    events.follow([("web", HashSet::from([b1]))]);
    events.probe(&ended(b1, Outcome::Timeout, Duration::from_secs(1)));
    let counted = BackendEvents {
        probes: ProbeCounts {
            failed: 1,
            timeout: 1,
            ..ProbeCounts::default()
        },
        transitions: TransitionCounts { up: 0, down: 1 },
    };
    assert_eq!(events.of("web", b1), counted);
    assert_eq!(events.of("web", b2), BackendEvents::default());
    let text = page(&events.gather(), &samples::observation()).unwrap();
    assert!(text.contains("xlb_probe_duration_seconds_count{service=\"web\"} 3"));
    assert!(!text.contains("xlb_probe_duration_seconds_count{service=\"dns\"}"));
}

#[test]
fn receivers_have_families_where_there_are_any() {
    assert!(!text().contains("xlb_notifications"));
    let mut observation = samples::observation();
    observation.status.notify = vec![ReceiverItem {
        name: "page".to_owned(),
        waiting: 1,
        sent: 2,
        failed: 3,
        dropped: 4,
        ..ReceiverItem::default()
    }];
    let text = page(&Events::try_new().unwrap().gather(), &observation).unwrap();
    for line in [
        "xlb_notifications_waiting{receiver=\"page\"} 1",
        "xlb_notifications_total{receiver=\"page\",result=\"sent\"} 2",
        "xlb_notifications_total{receiver=\"page\",result=\"failed\"} 3",
        "xlb_notifications_total{receiver=\"page\",result=\"dropped\"} 4",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}");
    }
}

/// A family without samples is malformed: without peers there are none of theirs.
#[test]
fn peers_have_families_where_there_are_any() {
    assert!(!text().contains("xlb_peer_"));
    let mut observation = samples::observation();
    let count = |reason: &str| CountItem {
        reason: reason.to_owned(),
        count: 3,
    };
    observation.status.peers.items = vec![PeerItem {
        address: "10.0.0.2:7472".to_owned(),
        told: true,
        sent: 5,
        lag_us: Some(51_000),
        tables_differ: vec!["web".to_owned()],
        ..PeerItem::default()
    }];
    observation.status.peers.refused = vec![count("key")];
    observation.status.peers.not_taken = vec![count("no_room")];
    let text = page(&Events::try_new().unwrap().gather(), &observation).unwrap();
    for line in [
        "xlb_peer_connected{peer=\"10.0.0.2:7472\",direction=\"sent\"} 1",
        "xlb_peer_connected{peer=\"10.0.0.2:7472\",direction=\"received\"} 0",
        "xlb_peer_entries_total{peer=\"10.0.0.2:7472\",direction=\"sent\"} 5",
        "xlb_peer_lag_seconds{peer=\"10.0.0.2:7472\"} 0.051",
        "xlb_peer_tables_differ{peer=\"10.0.0.2:7472\"} 1",
        "xlb_peer_refused_total{reason=\"key\"} 3",
        "xlb_peer_entries_not_taken_total{reason=\"no_room\"} 3",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}");
    }
}
