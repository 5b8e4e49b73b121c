//! The page as Prometheus reads it.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use lb_common::{DropReason, PassReason};

use super::*;
use crate::api::{samples, types::Health};

fn text() -> String {
    let mut events = Events::try_new().unwrap();
    events.follow(HashSet::from([("web".to_owned(), "b1".to_owned())]));
    events.probe("web", "b1", ProbeResult::Ok, Duration::from_micros(300));
    events.transition("web", "b1", Health::Down);
    page(&events, samples::observation()).unwrap()
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
    for reason in PassReason::ALL {
        let sample = format!(
            "xlb_passed_packets_total{{reason=\"{}\"}} 0",
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
        "xlb_service_backends{service=\"web\",state=\"down\"} 1",
        "xlb_probe_attempts_total{backend=\"b1\",result=\"ok\",service=\"web\"} 1",
        "xlb_probe_attempts_total{backend=\"b1\",result=\"timeout\",service=\"web\"} 0",
        "xlb_probe_duration_seconds_bucket{service=\"web\",le=\"0.0005\"} 1",
        "xlb_backend_transitions_total{backend=\"b1\",service=\"web\",to=\"down\"} 1",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
    }
}

#[test]
fn what_is_gone_leaves_no_sample() {
    let mut events = Events::try_new().unwrap();
    events.follow(HashSet::from([("web".to_owned(), "b1".to_owned())]));
    events.follow(HashSet::from([("dns".to_owned(), "d1".to_owned())]));
    let text = page(&events, samples::observation()).unwrap();
    assert!(!text.contains("xlb_probe_attempts_total{backend=\"b1\""));
    assert!(!text.contains("xlb_probe_duration_seconds_count{service=\"web\"}"));
    assert!(text.contains("xlb_probe_duration_seconds_count{service=\"dns\"} 0"));
}
