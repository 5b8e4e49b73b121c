use proptest::prelude::*;

use super::*;

#[test]
fn a_mac_address_reads_as_usual() {
    assert_eq!(mac(10).to_string(), "02:00:00:00:00:0a");
}

#[test]
fn a_neighbour_on_the_link_is_its_own_next_hop() {
    let view = host();
    let expected = next_hop(1, mac(11), true);
    assert_eq!(view.resolve(ip("10.0.1.11")), expected);
    assert_eq!(view.resolve(ip("2001:db8:1::11")), expected);
}

#[test]
fn everything_else_goes_to_the_gateway() {
    let view = host();
    assert_eq!(
        view.resolve(ip("198.51.100.7")),
        next_hop(2, mac(254), false)
    );
}

#[test]
fn an_unknown_neighbour_is_named() {
    let mut view = host();
    let expected = Resolution::Unresolved {
        ifindex: 1,
        via: ip("10.0.1.12"),
    };
    assert_eq!(view.resolve(ip("10.0.1.12")), expected);
    view.neighbours
        .insert((1, ip("10.0.1.12")), Neighbour::Unresolved);
    assert_eq!(view.resolve(ip("10.0.1.12")), expected);
}

#[test]
fn a_link_that_is_down_carries_nothing() {
    let mut view = host();
    view.links.get_mut(&1).unwrap().up = false;
    assert_eq!(view.resolve(ip("10.0.1.11")), next_hop(2, mac(254), false));
}

#[test]
fn own_addresses_are_local() {
    let view = host();
    for own in ["10.0.1.1", "127.0.0.1", "::1", "2001:db8:1::1"] {
        assert_eq!(view.resolve(ip(own)), Resolution::Local);
    }
}

#[test]
fn a_packet_is_as_long_as_link_and_route_allow() {
    let mut view = host();
    assert_eq!(view.way(ip("198.51.100.7")).mtu, Some(1500));
    for (said, mtu) in [(1400, 1400), (9000, 1500)] {
        view.routes[0].mtu = Some(said);
        assert_eq!(view.way(ip("198.51.100.7")).mtu, Some(mtu));
    }
    assert_eq!(view.way(ip("10.0.1.1")).mtu, None);
}

#[test]
fn a_packet_comes_from_the_routes_source_or_from_its_link() {
    let mut view = host();
    let source = |view: &View, destination| view.way(ip(destination)).source;
    assert_eq!(source(&view, "10.0.1.11"), Some(ip("10.0.1.1")));
    assert_eq!(source(&view, "198.51.100.7"), Some(ip("10.0.2.1")));
    assert_eq!(source(&view, "2001:db8:1::11"), Some(ip("2001:db8:1::1")));
    assert_eq!(source(&view, "2001:db8:2::1"), None);
    view.routes[0].source = Some(ip("10.0.1.1"));
    assert_eq!(source(&view, "198.51.100.7"), Some(ip("10.0.1.1")));
}

#[test]
fn a_refused_prefix_has_no_route() {
    let mut view = host();
    view.routes.push(route("198.51.100.0/24", 0, Hop::Kernel));
    assert_eq!(view.resolve(ip("198.51.100.7")), Resolution::NoRoute);
}

#[test]
fn a_link_without_ethernet_has_no_route() {
    let mut view = host();
    view.links.get_mut(&2).unwrap().mac = None;
    assert_eq!(view.resolve(ip("198.51.100.7")), Resolution::NoRoute);
}

#[test]
fn of_equal_next_hops_the_resolved_one_is_taken() {
    let mut view = host();
    let unknown = Hop::Gateway {
        address: ip("10.0.1.99"),
        ifindex: 1,
    };
    view.routes.insert(0, route("0.0.0.0/0", 100, unknown));
    assert_eq!(
        view.resolve(ip("198.51.100.7")),
        next_hop(2, mac(254), false)
    );
}

#[test]
fn an_ipv4_route_may_lead_over_an_ipv6_router() {
    let mut view = host();
    let hop = Hop::Gateway {
        address: ip("2001:db8:1::11"),
        ifindex: 1,
    };
    view.routes.push(route("203.0.113.0/24", 0, hop));
    assert_eq!(view.resolve(ip("203.0.113.9")), next_hop(1, mac(11), false));
}

#[test]
fn neighbours_that_matter_are_the_backends_and_the_routers() {
    let view = host();
    let towards = |address| view.neighbours_towards(ip(address)).collect::<Vec<_>>();
    assert_eq!(towards("10.0.1.12"), [(1, ip("10.0.1.12"))]);
    assert_eq!(towards("198.51.100.7"), [(2, ip("10.0.2.254"))]);
    assert_eq!(towards("10.0.1.1"), []);
    assert_eq!(towards("2001:db8:9::1"), []);
    let gateways: Vec<_> = view.gateways().collect();
    assert_eq!(gateways, [(2, ip("10.0.2.254"))]);
}

proptest! {
    #[test]
    fn the_longest_prefix_and_then_the_lowest_metric_wins(
        routes in prop::collection::vec((0u8..=32, 0u32..4, 0u32..1 << 6), 0..40),
        destination in 0u32..1 << 6,
    ) {
        let mut view = View::default();
        for (number, (length, metric, host)) in (0..).zip(routes) {
            view.links.insert(number, link(number));
            let prefix = IpNet::new(v4(host), length).unwrap().trunc();
            view.routes.push(Route { metric, ..route(&prefix.to_string(), 0, Hop::OnLink { ifindex: number }) });
        }
        let destination = v4(destination);
        let taken = match view.resolve(destination) {
            Resolution::Unresolved { ifindex, via } => {
                prop_assert_eq!(via, destination);
                Some(view.routes[ifindex as usize])
            }
            other => {
                prop_assert_eq!(other, Resolution::NoRoute);
                None
            }
        };
        let better = view.routes.iter().find(|route| {
            let longer = |taken: Route| route.prefix.prefix_len() > taken.prefix.prefix_len();
            let cheaper = |taken: Route| route.prefix == taken.prefix && route.metric < taken.metric;
            let better = taken.is_none_or(|taken| longer(taken) || cheaper(taken));
            route.prefix.contains(&destination) && better
        });
        prop_assert_eq!(better, None);
    }
}

/// Link 1 with neighbours of both families, link 2 with the default gateway.
pub(in crate::net) fn host() -> View {
    let gateway = |address| Hop::Gateway {
        address: ip(address),
        ifindex: 2,
    };
    let on_link = |ifindex| Hop::OnLink { ifindex };
    View {
        links: [(1, link(1)), (2, link(2))].into(),
        addresses: [
            (1, "10.0.1.1/24"),
            (1, "2001:db8:1::1/64"),
            (2, "10.0.2.1/24"),
        ]
        .map(|(ifindex, net)| Address {
            ifindex,
            net: net.parse().unwrap(),
        })
        .to_vec(),
        routes: vec![
            route("0.0.0.0/0", 100, gateway("10.0.2.254")),
            route("10.0.1.0/24", 0, on_link(1)),
            route("10.0.2.0/24", 0, on_link(2)),
            route("2001:db8:1::/64", 256, on_link(1)),
        ],
        neighbours: [
            ((1, ip("10.0.1.11")), Neighbour::Resolved(mac(11))),
            ((1, ip("2001:db8:1::11")), Neighbour::Fixed(mac(11))),
            ((2, ip("10.0.2.254")), Neighbour::Resolved(mac(254))),
        ]
        .into(),
    }
}

pub(in crate::net) fn route(prefix: &str, metric: u32, hop: Hop) -> Route {
    Route {
        prefix: prefix.parse().unwrap(),
        metric,
        hop,
        mtu: None,
        source: None,
    }
}

pub(in crate::net) fn link(index: u32) -> Link {
    Link {
        index,
        name: format!("eth{index}"),
        mac: Some(own_mac(index)),
        mtu: 1500,
        up: true,
        kind: None,
        peer: None,
        has_xdp: false,
    }
}

pub(in crate::net) fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

pub(in crate::net) fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

pub(in crate::net) fn next_hop(ifindex: u32, destination_mac: Mac, on_link: bool) -> Resolution {
    Resolution::NextHop(NextHop {
        ifindex,
        source_mac: own_mac(ifindex),
        destination_mac,
        on_link,
    })
}

fn own_mac(ifindex: u32) -> Mac {
    Mac([2, 1, 0, 0, 0, u8::try_from(ifindex).unwrap()])
}

fn v4(low: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 | low).to_be_bytes())
}
