use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::net::view::{
    Link, Neighbour,
    tests::{host, ip, link, mac, next_hop, route},
};

#[test]
fn gateway_last_and_links_by_the_fib() {
    assert_eq!(
        compiled(&host(), &[]),
        [
            ("10.0.1.0/24", ClientAction::Fib),
            ("10.0.2.0/24", ClientAction::Fib),
            ("0.0.0.0/0", by_gateway()),
        ]
        .map(entry)
    );
}

#[test]
fn an_unresolved_gateway_is_the_fibs() {
    let mut view = host();
    view.neighbours
        .insert((2, ip("10.0.2.254")), Neighbour::Unresolved);
    assert_eq!(
        compiled(&view, &[]),
        [entry(("0.0.0.0/0", ClientAction::Fib))]
    );
}

#[test]
fn several_next_hops_are_the_fibs() {
    let mut view = host();
    view.routes.push(view.routes[0]);
    assert_eq!(
        compiled(&view, &[]),
        [entry(("0.0.0.0/0", ClientAction::Fib))]
    );
}

#[test]
fn a_refused_prefix_is_the_fibs_and_not_the_gateways() {
    let mut view = host();
    view.routes.push(route("198.51.100.0/24", 0, Hop::Kernel));
    assert!(compiled(&view, &[]).contains(&entry(("198.51.100.0/24", ClientAction::Fib))));
}

#[test]
fn direct_wins_over_routes_inside_it() {
    assert_eq!(
        compiled(&host(), &["10.0.0.0/16", "2001:db8::/32"]),
        [
            ("10.0.0.0/16", ClientAction::Direct),
            ("0.0.0.0/0", by_gateway()),
        ]
        .map(entry)
    );
}

#[test]
fn routes_over_the_gateway_of_the_default_route_take_no_room() {
    let mut view = host();
    let default = view.routes[0];
    for n in 0..200 {
        let prefix = IpNet::new(IpAddr::from([198, 18, n, 0]), 24).unwrap();
        view.routes.push(Route { prefix, ..default });
    }
    assert_eq!(compiled(&view, &[]), compiled(&host(), &[]));
}

#[test]
fn too_many_routes_are_all_the_fibs_but_for_direct() {
    let view = crowded();
    assert_eq!(
        compiled(&view, &["192.0.2.0/24"]),
        [
            ("192.0.2.0/24", ClientAction::Direct),
            ("0.0.0.0/0", ClientAction::Fib),
        ]
        .map(entry)
    );
}

#[test]
fn too_many_direct_prefixes_are_refused() {
    let apart: Vec<IpNet> = (0..16)
        .map(|n| IpNet::new(IpAddr::from([10, n * 2, 0, 0]), 16).unwrap())
        .collect();
    assert_eq!(
        host().client_routes(Family::V4, &apart),
        Err(TooManyDirect { found: 16 })
    );
    assert!(host().client_routes(Family::V6, &apart).is_ok());
    assert!(host().client_routes(Family::V4, &apart[1..]).is_ok());
}

#[test]
fn link_local_prefixes_take_no_room() {
    let mut view = host();
    view.routes
        .push(route("fe80::/64", 256, Hop::OnLink { ifindex: 1 }));
    let routes = view.client_routes(Family::V6, &[]).unwrap();
    assert_eq!(routes, [entry(("2001:db8:1::/64", ClientAction::Fib))]);
}

proptest! {
    #[test]
    fn the_list_sends_each_packet_where_the_routes_do(
        routes in prop::collection::vec((0u8..=32, 0u32..3, 0u32..256, 0u32..6), 0..30),
        direct in prop::collection::vec((20u8..=32, 0u32..256), 0..4),
        destination in 0u32..256,
    ) {
        let (view, direct) = (network(routes), prefixes(direct));
        let list = view.client_routes(Family::V4, &direct).unwrap();
        prop_assert!(list.len() <= 16);
        prop_assert!(list.is_sorted_by_key(|route| Reverse(route.prefix.prefix_len())));

        let destination = v4(destination);
        let decided = list.iter().find(|route| route.prefix.contains(&destination));
        let is_direct = direct.iter().any(|prefix| prefix.contains(&destination));
        match decided.map(|route| route.action) {
            Some(ClientAction::Direct) => prop_assert!(is_direct),
            Some(ClientAction::Fib) => prop_assert!(!is_direct),
            Some(ClientAction::NextHop(next_hop)) => {
                prop_assert!(!is_direct);
                prop_assert_eq!(view.resolve(destination), Resolution::NextHop(next_hop));
            }
            None => {
                prop_assert!(!is_direct);
                prop_assert_eq!(view.resolve(destination), Resolution::NoRoute);
            }
        }
    }
}

/// Routes over gateways 0 to 3 (3 is unresolved, 2 is on a link that is down), on a link, refused.
fn network(routes: Vec<(u8, u32, u32, u32)>) -> View {
    let mut view = View::default();
    for ifindex in 0..4 {
        let up = ifindex != 2;
        view.links.insert(
            ifindex,
            Link {
                up,
                ..link(ifindex)
            },
        );
    }
    for ifindex in 0..3 {
        view.neighbours
            .insert((ifindex, ip("192.0.2.1")), Neighbour::Resolved(mac(1)));
    }
    let hop = |kind| match kind {
        4 => Hop::OnLink { ifindex: 0 },
        5 => Hop::Kernel,
        ifindex => Hop::Gateway {
            address: ip("192.0.2.1"),
            ifindex,
        },
    };
    let route = |(length, metric, host, kind)| Route {
        prefix: IpNet::new(v4(host), length).unwrap().trunc(),
        metric,
        hop: hop(kind),
        mtu: None,
        source: None,
    };
    view.routes = routes.into_iter().map(route).collect();
    view
}

/// More than 16 prefixes that differ from the default route.
fn crowded() -> View {
    let mut view = host();
    for n in 0..17 {
        let prefix = format!("198.18.{n}.0/24");
        view.routes
            .push(route(&prefix, 0, Hop::OnLink { ifindex: 1 }));
    }
    view
}

fn prefixes(list: Vec<(u8, u32)>) -> Vec<IpNet> {
    list.into_iter()
        .map(|(length, host)| IpNet::new(v4(host), length).unwrap())
        .collect()
}

fn compiled(view: &View, direct: &[&str]) -> Vec<ClientRoute> {
    let direct: Vec<IpNet> = direct.iter().map(|net| net.parse().unwrap()).collect();
    view.client_routes(Family::V4, &direct).unwrap()
}

fn by_gateway() -> ClientAction {
    match next_hop(2, mac(254), false) {
        Resolution::NextHop(next_hop) => ClientAction::NextHop(next_hop),
        other => panic!("{other:?}"),
    }
}

fn entry((prefix, action): (&str, ClientAction)) -> ClientRoute {
    ClientRoute {
        prefix: prefix.parse().unwrap(),
        action,
    }
}

fn v4(low: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 | low).to_be_bytes())
}
