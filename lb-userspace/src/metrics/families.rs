//! What the maps and the daemon say at the moment of a scrape.

use std::{collections::HashMap, time::Duration};

use super::family::{Family, counter, gauge};
use crate::api::types::{
    BackendItem, Health, Observation, PeersItem, ProbeCounts, ReceiverItem, ServiceItem, Status,
    TransitionCounts,
};

/// The families of an observation.
pub(super) fn of(observation: &Observation) -> Vec<Family> {
    let Observation { status, backends } = observation;
    let mut families = Vec::from(instance(status));
    families.extend(data_path(status));
    families.push(announced(status));
    families.extend(services(&status.services));
    families.push(service_backends(&status.services, backends));
    families.extend(traffic(backends));
    families.extend(states(backends));
    families.extend(recovery(backends));
    families.extend(feedback(backends));
    families.extend(events(backends));
    families.extend(paths(backends));
    families.extend(passive(backends));
    families.extend(full_nat(backends));
    families.extend(peers(&status.peers));
    families.extend(notifications(&status.notify));
    families
}

fn instance(status: &Status) -> [Family; 5] {
    let config = &status.config;
    let revision = status.revision.to_string();
    [
        gauge("xlb_build_info", "1; the daemon's version.")
            .sample(&[("version", &status.version)], 1),
        gauge("xlb_config_info", "1; the configuration in force.")
            .sample(&[("revision", &revision), ("digest", &config.digest)], 1),
        gauge(
            "xlb_config_last_reload_successful",
            "Whether the last configuration that was read is in force.",
        )
        .sample(&[], config.last_reload_successful),
        gauge(
            "xlb_config_last_applied_timestamp_seconds",
            "When the configuration in force was applied, since 1970.",
        )
        .sample(&[], config.applied_at),
        counter(
            "xlb_table_changes_total",
            "Changes of the slot tables since the daemon started.",
        )
        .sample(&[], status.generation),
    ]
}

fn data_path(status: &Status) -> Vec<Family> {
    let mut attached = gauge("xlb_xdp_attached", "1 where the program is attached.");
    for interface in &status.interfaces {
        attached.add(
            &[("interface", &interface.name), ("mode", &interface.mode)],
            1,
        );
    }
    let mut dropped = counter("xlb_dropped_packets_total", "Packets thrown away.");
    for drop in &status.drops {
        dropped.add(&[("reason", &drop.reason)], drop.packets);
    }
    let mut passed = counter("xlb_passed_packets_total", "Packets left to the kernel.");
    for pass in &status.passes {
        passed.add(&[("reason", &pass.reason)], pass.packets);
    }
    let mut answered = counter(
        "xlb_answered_packets_total",
        "Packets that were answered by the data path itself.",
    );
    for answer in &status.answers {
        answered.add(&[("reason", &answer.reason)], answer.packets);
    }
    let mut entries = gauge("xlb_map_max_entries", "Length of a BPF map.");
    let mut bytes = gauge("xlb_map_bytes", "Kernel memory of a BPF map.");
    for map in &status.maps {
        entries.add(&[("map", &map.name)], map.entries);
        bytes.add(&[("map", &map.name)], map.bytes);
    }
    let tracking = &status.tracking;
    let supported = gauge(
        "xlb_tracking_supported",
        "Whether the kernel can keep connections where they are while slots change hands.",
    )
    .sample(&[], tracking.supported);
    let flows = gauge(
        "xlb_tracked_flows",
        "Flows that are tracked as their slot moves.",
    )
    .sample(&[], tracking.flows);
    let mut tracked = counter(
        "xlb_track_requests_total",
        "Flows that were to be tracked as their slot moves.",
    );
    tracked.add(&[("result", "tracked")], tracking.tracked_total);
    tracked.add(&[("result", "refused")], tracking.refused_total);
    [
        attached, dropped, passed, answered, entries, bytes, supported, flows, tracked,
    ]
    .into()
}

fn announced(status: &Status) -> Family {
    let mut announced = gauge(
        "xlb_vip_announced",
        "Whether routing software is told to announce a VIP.",
    );
    let vips = status.announcement.iter().flat_map(|it| &it.vips);
    for vip in vips {
        announced.add(&[("vip", &vip.address.to_string())], vip.announced);
    }
    announced
}

fn services(services: &[ServiceItem]) -> [Family; 7] {
    let mut info = gauge("xlb_service_info", "1; what a service is.");
    let mut up = gauge("xlb_service_up", "Whether a backend takes the flows.");
    let mut dropped = counter(
        "xlb_service_dropped_packets_total",
        "Packets for a service that were thrown away.",
    );
    let mut tier = gauge(
        "xlb_service_tier",
        "The highest tier of backends that take a service's flows.",
    );
    let mut slots = gauge("xlb_service_slots", "Slots of a service's table.");
    let mut moving = gauge(
        "xlb_moving_rows",
        "Slots that changed hands and whose older flows go on elsewhere.",
    );
    let mut rehashed = counter(
        "xlb_rehashed_flows_estimate_total",
        "About how many flows were with backends that died and went to others: an estimate.",
    );
    for service in services {
        let name = [("service", service.name.as_str())];
        rehashed.add(&name, service.rehashed_flows);
        moving.add(&name, service.moving_slots);
        info.add(
            &[
                ("service", &service.name),
                ("vip", &service.vip),
                ("mode", &service.mode),
                ("scheduler", &service.scheduler),
            ],
            1,
        );
        up.add(&name, service.up);
        tier.add(&name, u32::from(service.tier));
        dropped.add(&name, service.dropped_packets);
        slots.add(&name, service.slots);
    }
    [info, up, tier, dropped, slots, moving, rehashed]
}

fn service_backends(services: &[ServiceItem], backends: &[BackendItem]) -> Family {
    let mut family = gauge("xlb_service_backends", "Backends of a service by state.");
    let mut counts = HashMap::<_, u32>::new();
    for backend in backends {
        *counts
            .entry((backend.service.as_str(), backend.state.word()))
            .or_default() += 1;
    }
    for service in services {
        for state in Health::ALL.iter().map(|state| state.word()) {
            let count = counts.get(&(service.name.as_str(), state));
            let labels = [("service", service.name.as_str()), ("state", state)];
            family.add(&labels, count.copied().unwrap_or(0));
        }
    }
    family
}

fn traffic(backends: &[BackendItem]) -> [Family; 4] {
    let each = |name, help, value: fn(&BackendItem) -> u64| {
        let mut family = counter(name, help);
        for backend in backends {
            family.add(&labels(backend), value(backend));
        }
        family
    };
    [
        each(
            "xlb_backend_packets_total",
            "Packets towards a backend.",
            |backend| backend.packets,
        ),
        each(
            "xlb_backend_bytes_total",
            "Bytes towards a backend, Ethernet headers included.",
            |backend| backend.bytes,
        ),
        each(
            "xlb_backend_return_packets_total",
            "Packets of the way back from a backend.",
            |backend| backend.return_packets,
        ),
        each(
            "xlb_backend_return_bytes_total",
            "Bytes of the way back from a backend, Ethernet headers included.",
            |backend| backend.return_bytes,
        ),
    ]
}

fn states(backends: &[BackendItem]) -> [Family; 6] {
    let mut up = gauge("xlb_backend_up", "Whether probes reach a backend.");
    let mut held = gauge(
        "xlb_backend_held",
        "Whether a backend stays in although its probes fail.",
    );
    let mut standby = gauge(
        "xlb_backend_standby",
        "Whether backends of lower tiers are enough, so that this one takes no flows.",
    );
    let mut admin = gauge("xlb_backend_admin", "1 for what the operator says.");
    let mut weight = gauge("xlb_backend_weight", "A backend's weight.");
    let mut slots = gauge("xlb_backend_slots", "Slots that a backend owns.");
    for backend in backends {
        let pair = labels(backend);
        up.add(&pair, backend.state == Health::Up);
        held.add(&pair, backend.held.is_some());
        standby.add(&pair, backend.standby);
        weight.add(&pair, backend.weight);
        slots.add(&pair, backend.slots);
        let [service, name] = pair;
        admin.add(&[service, name, ("state", backend.admin.word())], 1);
    }
    [up, held, standby, admin, weight, slots]
}

fn paths(backends: &[BackendItem]) -> [Family; 2] {
    let mut up = gauge(
        "xlb_path_up",
        "Whether probes by way of the VIP reach a backend.",
    );
    let mut attempts = counter(
        "xlb_path_probe_attempts_total",
        "Probes by way of the VIP that ended.",
    );
    for backend in backends {
        let Some(path) = &backend.path else { continue };
        let pair = labels(backend);
        up.add(&pair, path.state == Health::Up);
        add_ends(&mut attempts, pair, path.probes);
    }
    [up, attempts]
}

fn passive(backends: &[BackendItem]) -> [Family; 6] {
    let mut tried = counter(
        "xlb_backend_connections_tried_total",
        "Connections to a backend that clients began, and that were watched.",
    );
    let mut opened = counter("xlb_backend_connections_opened_total", "Those that opened.");
    let mut again = counter(
        "xlb_backend_syns_again_total",
        "SYNs to a backend that its clients had to send again.",
    );
    let mut resets = counter(
        "xlb_backend_resets_total",
        "RSTs of a backend, where its answers pass here.",
    );
    let mut suspected = gauge(
        "xlb_backend_suspected",
        "Whether clients' packets show that a backend fails.",
    );
    let mut ejected = gauge(
        "xlb_backend_ejected",
        "Whether a backend gets no new flows for that.",
    );
    for backend in backends {
        let Some(passive) = &backend.passive else {
            continue;
        };
        let pair = labels(backend);
        tried.add(&pair, passive.tried);
        opened.add(&pair, passive.opened);
        again.add(&pair, passive.again);
        resets.add(&pair, passive.resets);
        suspected.add(&pair, passive.suspected.is_some());
        ejected.add(&pair, passive.ejected_for_seconds.is_some());
    }
    [tried, opened, again, resets, suspected, ejected]
}

fn recovery(backends: &[BackendItem]) -> [Family; 3] {
    let mut percent = gauge(
        "xlb_backend_weight_percent",
        "How much of what its weight amounts to a backend takes.",
    );
    let mut penalty = gauge(
        "xlb_backend_penalty",
        "What falling again and again has brought a backend.",
    );
    let mut suppressed = gauge(
        "xlb_backend_suppressed",
        "Whether a backend is kept out because it fell too often.",
    );
    for backend in backends {
        let pair = labels(backend);
        let recovery = &backend.recovery;
        percent.add(&pair, u16::from(recovery.weight_percent));
        penalty.add(&pair, recovery.damping.map_or(0, |it| it.penalty));
        suppressed.add(&pair, recovery.is_suppressed());
    }
    [percent, penalty, suppressed]
}

fn feedback(backends: &[BackendItem]) -> [Family; 2] {
    let mut advised = gauge(
        "xlb_backend_advised_percent",
        "How much of its weight a backend says that it is good for.",
    );
    let mut invalid = counter(
        "xlb_backend_invalid_advice_total",
        "Times that a backend said nothing that could be understood of that.",
    );
    for backend in backends {
        let Some(feedback) = &backend.recovery.feedback else {
            continue;
        };
        invalid.add(&labels(backend), feedback.invalid);
        if let Some(percent) = feedback.advised_percent {
            advised.add(&labels(backend), u16::from(percent));
        }
    }
    [advised, invalid]
}

fn events(backends: &[BackendItem]) -> [Family; 2] {
    let mut attempts = counter("xlb_probe_attempts_total", "Probes that ended.");
    let mut transitions = counter(
        "xlb_backend_transitions_total",
        "Times that probes changed their mind about a backend.",
    );
    for backend in backends {
        let [service, name] = labels(backend);
        add_ends(&mut attempts, [service, name], backend.events.probes);
        let TransitionCounts { up, down } = backend.events.transitions;
        for (to, count) in [("up", up), ("down", down)] {
            transitions.add(&[service, name, ("to", to)], count);
        }
    }
    [attempts, transitions]
}

fn full_nat(backends: &[BackendItem]) -> [Family; 2] {
    let mut total = gauge(
        "xlb_full_nat_places",
        "Source addresses and ports that flows to a backend can have.",
    );
    let mut used = gauge(
        "xlb_full_nat_places_used",
        "Source addresses and ports that flows to a backend have.",
    );
    for backend in backends {
        if let Some(places) = backend.places {
            total.add(&labels(backend), places.total);
            used.add(&labels(backend), places.used);
        }
    }
    [total, used]
}

/// Nothing where there are no other balancers.
fn peers(peers: &PeersItem) -> Vec<Family> {
    if peers.items.is_empty() {
        return Vec::new();
    }
    let mut connected = gauge(
        "xlb_peer_connected",
        "Whether another balancer is told of flows (sent), and tells of its own (received).",
    );
    let mut entries = counter(
        "xlb_peer_entries_total",
        "Rows and flows told to another balancer (sent), and by it (received).",
    );
    let mut differ = gauge(
        "xlb_peer_tables_differ",
        "Services whose slot tables differ on another balancer.",
    );
    for peer in &peers.items {
        for (direction, is, count) in [
            ("sent", peer.told, peer.sent),
            ("received", peer.heard, peer.received),
        ] {
            let labels = [("peer", peer.address.as_str()), ("direction", direction)];
            connected.add(&labels, is);
            entries.add(&labels, count);
        }
        let number = u32::try_from(peer.tables_differ.len()).unwrap_or(u32::MAX);
        differ.add(&[("peer", &peer.address)], number);
    }
    let mut refused = counter(
        "xlb_peer_refused_total",
        "Connections with other balancers, or callers, that ended by a fault.",
    );
    for item in &peers.refused {
        refused.add(&[("reason", &item.reason)], item.count);
    }
    let mut not_taken = counter(
        "xlb_peer_entries_not_taken_total",
        "Rows and flows of other balancers that were not taken over.",
    );
    for item in &peers.not_taken {
        not_taken.add(&[("reason", &item.reason)], item.count);
    }
    let lags = peer_lags(peers);
    vec![connected, entries, differ, refused, not_taken, lags]
}

fn notifications(receivers: &[ReceiverItem]) -> [Family; 2] {
    let mut waiting = gauge(
        "xlb_notifications_waiting",
        "Events that a receiver is still to be told.",
    );
    let mut results = counter(
        "xlb_notifications_total",
        "Events that a receiver was told (sent), attempts that failed, events that found no room (dropped).",
    );
    for receiver in receivers {
        let name = ("receiver", receiver.name.as_str());
        waiting.add(&[name], receiver.waiting);
        for (result, count) in [
            ("sent", receiver.sent),
            ("failed", receiver.failed),
            ("dropped", receiver.dropped),
        ] {
            results.add(&[name, ("result", result)], count);
        }
    }
    [waiting, results]
}

fn peer_lags(peers: &PeersItem) -> Family {
    let mut family = gauge(
        "xlb_peer_lag_seconds",
        "Flows that came up here so long ago are known to another balancer.",
    );
    for peer in &peers.items {
        if let Some(lag) = peer.lag_us {
            family.add(&[("peer", &peer.address)], Duration::from_micros(lag));
        }
    }
    family
}

fn labels(backend: &BackendItem) -> [(&'static str, &str); 2] {
    [("service", &backend.service), ("backend", &backend.name)]
}

/// How probes of a backend ended.
fn add_ends(family: &mut Family, [service, name]: [(&str, &str); 2], ends: ProbeCounts) {
    let ProbeCounts {
        ok,
        failed,
        timeout,
        not_made,
    } = ends;
    for (result, count) in [
        ("ok", ok),
        ("failed", failed),
        ("timeout", timeout),
        ("not_made", not_made),
    ] {
        family.add(&[service, name, ("result", result)], count);
    }
}
