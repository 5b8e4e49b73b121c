//! What has to fit together between services. Ports have rules of their own: `port_conflicts`.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, SocketAddr},
};

use super::{
    port_conflicts,
    problems::{Finding, Problems},
    services::ServiceDraft,
    source::{Span, Spanned},
    values::quoted,
};

/// Reports what two services claim, and addresses that are both VIP and backend.
pub(super) fn check(services: &[ServiceDraft], problems: &mut Problems) {
    check_names(services, problems);
    check_vips(services, problems);
    check_backends_are_no_vips(services, problems);
    port_conflicts::check(services, problems);
}

fn check_names(services: &[ServiceDraft], problems: &mut Problems) {
    let names = services.iter().flat_map(|service| &service.name);
    for (again, first) in repeated(names.map(|name| (&name.value, name.span))) {
        let name = problems.source().slice(again).to_owned();
        problems.error(
            Finding::at(
                again,
                format!("two services with the name {}", quoted(&name)),
            )
            .label("again here")
            .also(first, "first here")
            .hint("give each service its own name"),
        );
    }
}

fn check_vips(services: &[ServiceDraft], problems: &mut Problems) {
    let vips = services.iter().flat_map(|service| &service.vip);
    for (again, first) in repeated(vips.map(|vip| (vip.value, vip.span))) {
        let vip = problems.source().slice(again).to_owned();
        problems.error(
            Finding::at(again, format!("two services claim {vip}"))
                .label("claimed again here")
                .also(first, "first claimed here")
                .hint("put the backends of both into one service, or change one VIP"),
        );
    }
}

/// Places of keys that were there before, and where they were first.
fn repeated<K: Eq + Hash>(keys: impl Iterator<Item = (K, Span)>) -> Vec<(Span, Span)> {
    let mut first_places = HashMap::new();
    let mut repeated = Vec::new();
    for (key, span) in keys {
        match first_places.entry(key) {
            Entry::Occupied(first) => repeated.push((span, *first.get())),
            Entry::Vacant(vacant) => {
                vacant.insert(span);
            }
        }
    }
    repeated
}

/// A packet to such a backend would be balanced once more.
fn check_backends_are_no_vips(services: &[ServiceDraft], problems: &mut Problems) {
    let vips = services.iter().flat_map(|service| &service.vip);
    let vips: HashMap<IpAddr, Span> = vips.map(|vip| (vip.value.address, vip.span)).collect();
    for backend in services.iter().flat_map(addresses) {
        let Some(vip) = vips.get(&backend.value.ip()) else {
            continue;
        };
        let message = format!("backend {} has the address of a VIP", backend.value);
        problems.error(
            Finding::at(backend.span, message)
                .label("backend")
                .also(*vip, "VIP")
                .hint("give the address that the server itself listens on"),
        );
    }
}

fn addresses(service: &ServiceDraft) -> impl Iterator<Item = &Spanned<SocketAddr>> {
    service
        .backends
        .iter()
        .flatten()
        .flat_map(|backend| &backend.address)
}
