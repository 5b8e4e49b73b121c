//! An instance as tests like to see it.

use lb_common::{AnswerReason, DropReason, PassReason};

use super::types::{
    Admin, AnnouncementItem, BackendDetail, BackendEvents, BackendItem, BackendSetup, ConfigItem,
    FeedbackItem, Health, InterfaceItem, MapItem, Observation, OverrideItem, PassiveItem,
    PeersItem, PlacesItem, ProbeCounts, ProbeItem, ReasonItem, RecoveryItem, Schema, ServiceItem,
    Status, TcpFlag, TrackingItem, TransitionCounts, VipItem, Why, WhyProtocol, WhyRequest,
    WhyStep,
};

/// A SYN to a service.
pub(crate) fn question() -> WhyRequest {
    WhyRequest {
        protocol: WhyProtocol::Tcp,
        source: ([198, 51, 100, 7], 40000).into(),
        destination: ([203, 0, 113, 10], 443).into(),
        flags: vec![TcpFlag::Syn],
        interface: None,
    }
}

/// What becomes of it.
pub(crate) fn why(request: &WhyRequest) -> Why {
    Why {
        schema: Schema::V1,
        kind: "Why".to_owned(),
        verdict: "dropped".to_owned(),
        reason: Some("no_such_port".to_owned()),
        explanation: Some(format!("nobody listens on {}", request.destination)),
        service: None,
        backend: None,
        interface: "eth0".to_owned(),
        leaves_by: None,
        steps: vec![WhyStep {
            step: "address".to_owned(),
            text: "a VIP".to_owned(),
        }],
        frame: "00".to_owned(),
        frame_after: "00".to_owned(),
    }
}

/// What the backends of [`observation`] need.
pub(crate) fn setup() -> Vec<BackendSetup> {
    let backend = |name: &str, address: &str| BackendSetup {
        service: "web".to_owned(),
        name: name.to_owned(),
        address: address.to_owned(),
        mode: "full-nat".to_owned(),
        commands: vec![format!("# {name}"), "true".to_owned()],
    };
    vec![
        backend("b1", "10.0.0.11:8080"),
        backend("b2", "10.0.0.12:8080"),
    ]
}

/// One service `web` with `b1`, which is up, and `b2`, which is down.
pub(crate) fn observation() -> Observation {
    Observation {
        status: status(),
        backends: vec![
            backend("b1", "10.0.0.11:8080", Health::Up),
            backend("b2", "10.0.0.12:8080", Health::Down),
        ],
    }
}

/// `b2`, and its last three probes.
pub(crate) fn detail() -> BackendDetail {
    let probe = |ago_ms, outcome: &str, detail: Option<&str>, latency_us| ProbeItem {
        at_ms: 1_700_000_000_000 - ago_ms,
        ago_ms,
        outcome: outcome.to_owned(),
        detail: detail.map(str::to_owned),
        latency_us,
    };
    BackendDetail {
        backend: backend("b2", "10.0.0.12:8080", Health::Down),
        state_ms: Some(90_000),
        last_probes: vec![
            probe(612, "status", Some("status 503"), 1_312),
            probe(1_630, "timeout", None, 500_000),
            probe(61_000, "ok", None, 87),
        ],
    }
}

fn status() -> Status {
    let reason = |reason: &str| ReasonItem {
        reason: reason.to_owned(),
        packets: 0,
    };
    Status {
        schema: Schema::V1,
        kind: "Status".to_owned(),
        instance: "test".to_owned(),
        version: "0.1.0".to_owned(),
        pid: 7,
        revision: 3,
        generation: 2,
        uptime_seconds: 90_061,
        adopted: false,
        metrics: None,
        config: ConfigItem {
            path: "/etc/xlb/xlb.yaml".to_owned(),
            last_reload_successful: true,
            ..ConfigItem::default()
        },
        interfaces: vec![InterfaceItem {
            name: "eth0".to_owned(),
            mode: "native".to_owned(),
            program_id: 155,
            warnings: Vec::new(),
        }],
        services: vec![service()],
        tracking: TrackingItem {
            supported: true,
            ..TrackingItem::default()
        },
        announcement: Some(announcement()),
        peers: PeersItem::default(),
        notify: Vec::new(),
        maps: vec![MapItem {
            name: "SLOTS".to_owned(),
            entries: 512,
            bytes: 32_768,
        }],
        answers: AnswerReason::ALL
            .iter()
            .map(|r| reason(r.label()))
            .collect(),
        drops: DropReason::ALL.iter().map(|r| reason(r.label())).collect(),
        passes: PassReason::ALL.iter().map(|r| reason(r.label())).collect(),
    }
}

/// One VIP that is announced, and one that is not.
fn announcement() -> AnnouncementItem {
    let vip = |address: &str, since: Option<u64>, reason: Option<&str>| VipItem {
        address: address.parse().unwrap(),
        announced: since.is_some(),
        since,
        reason: reason.map(str::to_owned),
    };
    AnnouncementItem {
        table: 77,
        protocol: 200,
        metric: 100,
        drained: None,
        vips: vec![
            vip("203.0.113.10", Some(7), None),
            vip("2001:db8::10", None, Some("no backend: dns")),
        ],
        problem: None,
    }
}

fn service() -> ServiceItem {
    ServiceItem {
        name: "web".to_owned(),
        vip: "203.0.113.10:80/tcp".to_owned(),
        mode: "nat".to_owned(),
        scheduler: "maglev".to_owned(),
        up: true,
        backends_up: 1,
        backends_total: 2,
        tier: 0,
        slots: 4096,
        moving_slots: 0,
        rehashed_flows: 0,
        table_checksum: "00c0ffee".to_owned(),
        packets: 7,
        bytes: 420,
        dropped_packets: 0,
    }
}

fn passive() -> PassiveItem {
    PassiveItem {
        tried: 40,
        again: 3,
        opened: 38,
        resets: 1,
        ..PassiveItem::default()
    }
}

fn backend(name: &str, address: &str, state: Health) -> BackendItem {
    let up = state == Health::Up;
    BackendItem {
        service: "web".to_owned(),
        name: name.to_owned(),
        address: address.parse().unwrap(),
        mode: "nat".to_owned(),
        weight: 1,
        tier: 0,
        standby: false,
        recovery: RecoveryItem {
            weight_percent: 100,
            grown_in_seconds: None,
            damping: None,
            feedback: up.then_some(FeedbackItem {
                applied: false,
                advised_percent: Some(75),
                used_percent: 100,
                invalid: 2,
            }),
        },
        state,
        held: None,
        admin: if up { Admin::Ready } else { Admin::Drain },
        packets: if up { 7 } else { 0 },
        bytes: if up { 420 } else { 0 },
        return_packets: 0,
        return_bytes: 0,
        slots: if up { 4096 } else { 0 },
        leaving_slots: 0,
        flows_left: 0,
        share: if up { 1.0 } else { 0.0 },
        places: up.then_some(PlacesItem {
            total: 22_768,
            used: 5,
        }),
        last_probe: Some("tcp ok 0.4ms".to_owned()),
        path: None,
        passive: up.then(passive),
        events: BackendEvents {
            probes: ProbeCounts {
                ok: if up { 9 } else { 0 },
                ..ProbeCounts::default()
            },
            transitions: TransitionCounts { up: 1, down: 0 },
        },
        overridden: (!up).then(|| OverrideItem {
            what: "drain".to_owned(),
            expires_in_seconds: Some(1680),
        }),
    }
}
