//! Services on several ports, and services whose replies come from the same port.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    model::{Mode, Ports},
    problems::{Finding, Problems},
    services::ServiceDraft,
    sharing::{Claim, collisions},
    source::{Span, Spanned},
};

/// Services on several ports of one address and protocol, and as many that replies of one backend
/// may belong to: the data path looks through them one by one.
const MAX_RANGES: usize = 16;

/// Reports ranges that overlap or are too many, and notes backends that several services share.
pub(super) fn check(services: &[ServiceDraft], problems: &mut Problems) {
    check_ranges(services, problems);
    check_ways_back(services, problems);
    note_shared(services, problems);
}

fn check_ranges(services: &[ServiceDraft], problems: &mut Problems) {
    let vips = services.iter().flat_map(|service| &service.vip);
    let mut groups = BTreeMap::<_, Vec<(Ports, Span)>>::new();
    for Spanned { value: vip, span } in vips.filter(|vip| !vip.value.ports.is_one()) {
        let ranges = groups.entry((vip.address, vip.protocol)).or_default();
        ranges.push((vip.ports, *span));
    }
    for ranges in groups.values_mut() {
        if let Some((_, span)) = ranges.get(MAX_RANGES) {
            problems.error(too_many(*span, ranges.len()));
        }
        ranges.sort_by_key(|(ports, _)| *ports);
        for pair in ranges.windows(2) {
            // Equal ones were reported as such; what has all ports comes behind all ranges.
            if let [(before, first), (ports, again)] = *pair
                && before != ports
                && ports != Ports::All
                && before.overlap(ports)
            {
                problems.error(overlapping(before, first, ports, again));
            }
        }
    }
}

fn too_many(span: Span, count: usize) -> Finding {
    let message =
        format!("{count} services on port ranges of one address, expected at most {MAX_RANGES}");
    Finding::at(span, message)
        .label("one too many")
        .hint("join ranges, make a service for each port, or take another address")
}

fn overlapping(before: Ports, first: Span, ports: Ports, again: Span) -> Finding {
    Finding::at(
        again,
        format!("the port ranges {before} and {ports} overlap"),
    )
    .label("this range")
    .also(first, "the other")
    .hint("let one end where the other begins; a service on a single port may lie in a range")
}

/// Replies from a backend's ranges are looked through one by one, too.
fn check_ways_back(services: &[ServiceDraft], problems: &mut Problems) {
    let mut counts = BTreeMap::<_, usize>::new();
    for Claim {
        owner,
        vip,
        backend,
    } in claims(services).filter(|c| !c.vip.ports.is_one())
    {
        let count = counts.entry((backend.ip(), vip.protocol)).or_default();
        *count += 1;
        if *count == MAX_RANGES + 1 {
            let message = format!(
                "backend {} of more than {MAX_RANGES} `nat` services on port ranges",
                backend.ip()
            );
            problems.error(
                Finding::at(owner.span, message)
                    .label("one too many")
                    .hint("join ranges, or use another mode"),
            );
        }
    }
}

/// One note for each two services.
fn note_shared(services: &[ServiceDraft], problems: &mut Problems) {
    let mut said = BTreeSet::new();
    for (later, first) in collisions(claims(services)) {
        if !said.insert((later.owner.service, first.owner.service)) {
            continue;
        }
        let (address, ports) = (later.backend.ip(), later.ports());
        let protocol = later.vip.protocol;
        let message = format!("two `nat` services have {address}, {protocol} ports {ports}");
        problems.note(
            Finding::at(later.owner.span, message)
                .label("again here")
                .also(first.owner.span, "first here")
                .hint(
                    "a client's port leads to one of them at a time: `mode: full-nat` has no such limit",
                ),
        );
    }
}

/// Where a claim stands.
#[derive(Clone, Copy)]
struct Owner {
    /// Number of the service.
    service: usize,
    span: Span,
}

fn claims(services: &[ServiceDraft]) -> impl Iterator<Item = Claim<Owner>> {
    (0..).zip(services).flat_map(|(service, draft)| {
        let vip = draft.vip.as_ref().ok().map(|vip| vip.value);
        let backends = draft.backends.iter().flatten();
        let of_nat = backends.filter(|backend| matches!(backend.mode, Ok(Mode::Nat)));
        of_nat.filter_map(move |backend| {
            let address = backend.address.as_ref().ok()?;
            let owner = Owner {
                service,
                span: address.span,
            };
            Some(Claim {
                owner,
                vip: vip?,
                backend: address.value,
            })
        })
    })
}
