//! Tunnels whose outer header is of another family than what is inside, and what varies in it.

use std::collections::BTreeSet;

use lb_tests::{config::Service, damage, tap::Tap};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Topology},
};

use crate::{
    backends::{
        Backends, datagrams_are_answered, datagrams_are_whole_both_ways, first,
        fragments_are_put_together_both_ways, names, network, pages_are_whole_both_ways, served_by,
        web,
    },
    site::{nothing_was_dropped, start},
};

/// Bytes of a large transfer.
const TRANSFER: usize = 2 << 20;

/// VIPs of each family at backends of the other one.
fn carries_the_other_family(mode: Mode) {
    let topology = Topology::two_armed(network(mode)).unwrap();
    let backends = Backends::start(&topology, mode);
    let pairs = [(Family::V4, Family::V6), (Family::V6, Family::V4)];
    let both = pairs.map(|(family, other)| {
        [web(family, mode), names(family, mode)].map(|service| Service {
            backend_family: Some(other),
            ..service
        })
    });
    let xlb = start(&topology, both.as_flattened());
    for [web, names] in both {
        let [web, names] = [web, names].map(|service: Service<'_>| service.vip(&topology));
        assert_eq!(served_by(&topology, web, 100), first(3));
        pages_are_whole_both_ways(&topology, &backends.fleet, web, TRANSFER);
        assert_eq!(datagrams_are_whole_both_ways(&topology, names), first(3));
        assert_eq!(
            fragments_are_put_together_both_ways(&topology, names),
            first(3)
        );
    }
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

#[test]
fn ipip_carries_each_family_in_the_other() {
    carries_the_other_family(Mode::Ipip);
}

#[test]
fn gue_carries_each_family_in_the_other() {
    carries_the_other_family(Mode::Gue);
}

/// Outer sources, and in GUE ports, of packets to a backend: one for each flow, so that they come in
/// by all of its receive queues.
fn sources_vary(
    mode: Mode,
    family: Family,
    prefix: &str,
    parts: impl Fn(&[u8]) -> Option<Vec<u8>>,
) {
    let topology = Topology::two_armed(network(mode)).unwrap();
    let backends = Backends::start(&topology, mode);
    let vips = Family::ALL.map(|family| topology.vip.of(family));
    for end in &backends.ends {
        end.attach(&vips, &[prefix.to_owned()]).unwrap();
    }
    let source = format!("tunnel: {{ source: \"{prefix}\" }}");
    let service = Service {
        weights: &[1],
        more: &[&source],
        ..names(family, mode)
    };
    let _xlb = start(&topology, &[service]);
    let tap = Tap::open(&topology.switch, "b1").unwrap();
    datagrams_are_answered(&topology, service.vip(&topology));
    let seen = tap.waiting();
    let found: BTreeSet<_> = seen.iter().filter_map(|frame| parts(frame)).collect();
    assert!(found.len() > 50, "{found:?}");
}

/// The last byte of the source, and where there are ports the source port.
fn ipv4(frame: &[u8], protocol: u8) -> Option<Vec<u8>> {
    let is_outer =
        frame[12..14] == [8, 0] && frame[23] == protocol && frame[26..29] == [198, 18, 5];
    is_outer.then(|| frame[29..30].to_vec())
}

#[test]
fn ipip_sources_vary_with_the_flow_within_their_prefix() {
    sources_vary(Mode::Ipip, Family::V4, "198.18.5.0/24", |frame| {
        ipv4(frame, 4)
    });
}

#[test]
fn ipv6_sources_vary_with_the_flow_within_their_prefix() {
    let prefix = [0x20, 1, 0xd, 0xb8, 0, 0x12, 0, 0, 0, 0, 0, 0, 0, 0];
    sources_vary(Mode::Ipip, Family::V6, "2001:db8:12::/112", |frame| {
        let is_outer = frame[12..14] == [0x86, 0xdd] && frame[22..36] == prefix;
        is_outer.then(|| frame[36..38].to_vec())
    });
}

#[test]
fn gue_ports_vary_with_the_flow() {
    sources_vary(Mode::Gue, Family::V4, "198.18.5.5/32", |frame| {
        ipv4(frame, 17)?;
        (frame[36..38] == 6080_u16.to_be_bytes()).then(|| frame[34..36].to_vec())
    });
}
