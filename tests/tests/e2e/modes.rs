//! Every mode carries everything: TCP and UDP of both families, short and long, whole and in
//! fragments, with one interface or two, to backends on the link and behind a router.

use lb_tests::{config::Service, damage};
use lb_userspace::{
    config::model::Mode,
    lab::{Family, Topology},
};

use crate::{
    backends::{
        Backends, datagrams_are_whole_both_ways, first, fragments_are_put_together_both_ways,
        names, network, pages_are_whole_both_ways, served_by, web, weights,
    },
    site::{nothing_was_dropped, start},
};

/// Bytes of a large transfer.
const TRANSFER: usize = 8 << 20;

fn two_armed(mode: Mode) {
    carries_everything(&Topology::two_armed(network(mode)).unwrap(), mode);
}

fn one_armed(mode: Mode) {
    carries_everything(&Topology::one_armed(network(mode)).unwrap(), mode);
}

fn carries_everything(topology: &Topology, mode: Mode) {
    let backends = Backends::start(topology, mode);
    let both = Family::ALL.map(|family| [web(family, mode), names(family, mode)]);
    let xlb = start(topology, both.as_flattened());
    for [web, names] in both {
        let [web, names] = [web, names].map(|service: Service<'_>| service.vip(topology));
        let all = first(weights(mode).len());
        assert_eq!(served_by(topology, web, 100), all);
        pages_are_whole_both_ways(topology, &backends.fleet, web, TRANSFER);
        assert_eq!(datagrams_are_whole_both_ways(topology, names), all);
        assert_eq!(fragments_are_put_together_both_ways(topology, names), all);
    }
    damage::assert_none(topology).unwrap();
    nothing_was_dropped(&xlb);
}

#[test]
fn nat_carries_everything_between_two_interfaces() {
    two_armed(Mode::Nat);
}

#[test]
fn nat_carries_everything_through_one_interface() {
    one_armed(Mode::Nat);
}

#[test]
fn full_nat_carries_everything_between_two_interfaces() {
    two_armed(Mode::FullNat);
}

#[test]
fn full_nat_carries_everything_through_one_interface() {
    one_armed(Mode::FullNat);
}

#[test]
fn l2_dsr_carries_everything_between_two_interfaces() {
    two_armed(Mode::L2Dsr);
}

#[test]
fn l2_dsr_carries_everything_through_one_interface() {
    one_armed(Mode::L2Dsr);
}

#[test]
fn ipip_carries_everything_between_two_interfaces() {
    two_armed(Mode::Ipip);
}

#[test]
fn ipip_carries_everything_through_one_interface() {
    one_armed(Mode::Ipip);
}

#[test]
fn gue_carries_everything_between_two_interfaces() {
    two_armed(Mode::Gue);
}

#[test]
fn gue_carries_everything_through_one_interface() {
    one_armed(Mode::Gue);
}
