//! Against the kernel, each test in a network namespace of its own.

use tokio::time::timeout;

use super::*;
use crate::net::{
    Resolution,
    client_routes::{ClientAction, Family},
    sandbox::{self, Neighbourhood, ip},
    view::NextHop,
};

#[test]
fn it_reads_what_is_there() {
    sandbox::run(async || {
        let _neighbours = connected();
        let follower = Follower::start().await.unwrap();
        let view = follower.view();
        let link = view.link("va").unwrap();
        assert!(link.is_veth() && link.mac.is_some() && link.mtu == 1500);
        assert_eq!(link.peer, None, "the peer is in another namespace");
        assert!(view.is_local(address("10.0.0.1")));
        until(&follower, |view| view.link("va").unwrap().up).await;
        until(&follower, |view| {
            matches!(
                view.resolve(address("10.0.0.2")),
                Resolution::Unresolved { .. } | Resolution::NextHop(_)
            )
        })
        .await;
    });
}

#[test]
fn an_empty_namespace_has_no_route() {
    sandbox::run(async || {
        let follower = Follower::start().await.unwrap();
        let way = follower.view().resolve(address("192.0.2.1"));
        assert_eq!(way, Resolution::NoRoute);
    });
}

#[test]
fn links_addresses_and_routes_are_followed() {
    sandbox::run(async || {
        let follower = Follower::start().await.unwrap();
        ip("link add va type veth peer name vb");
        until(&follower, |view| {
            let [a, b] = ["va", "vb"].map(|name| view.link(name));
            a.is_some_and(|a| a.peer == b.map(|b| b.index))
        })
        .await;

        ip("link set va up mtu 1400");
        ip("link set vb up");
        ip("addr add 10.0.0.1/24 dev va");
        until(&follower, |view| {
            let link = view.link("va").unwrap();
            link.up && link.mtu == 1400 && view.is_local(address("10.0.0.1"))
        })
        .await;

        let elsewhere = address("198.51.100.7");
        ip("route add default via 10.0.0.254");
        let by = |view: &View| {
            view.neighbours_towards(elsewhere)
                .map(|(_, via)| via)
                .next()
        };
        until(&follower, |view| by(view) == Some(address("10.0.0.254"))).await;
        ip("route replace default via 10.0.0.253");
        until(&follower, |view| by(view) == Some(address("10.0.0.253"))).await;
        ip("route add unreachable 198.51.100.0/24");
        until(&follower, |view| by(view).is_none()).await;
        ip("route del unreachable 198.51.100.0/24");
        until(&follower, |view| by(view).is_some()).await;

        // The kernel says nothing of the routes that go with the link.
        ip("link set va down");
        until(&follower, |view| {
            view.neighbours_towards(address("10.0.0.2")).count() == 0
        })
        .await;
        ip("link del va");
        until(&follower, |view| view.link("va").is_none()).await;
    });
}

#[test]
fn several_next_hops_and_a_router_of_the_other_family_are_read() {
    sandbox::run(async || {
        let _neighbours = connected();
        let follower = Follower::start().await.unwrap();
        ip("route add 198.51.100.0/24 nexthop via 10.0.0.2 nexthop via 10.0.0.3");
        ip("route add 203.0.113.0/24 via inet6 2001:db8::2 dev va");
        until(&follower, |view| {
            view.neighbours_towards(address("198.51.100.7"))
                .map(|(_, via)| via)
                .eq(["10.0.0.2", "10.0.0.3"].map(address))
        })
        .await;
        until(&follower, |view| {
            view.neighbours_towards(address("203.0.113.1"))
                .map(|(_, via)| via)
                .eq([address("2001:db8::2")])
        })
        .await;
    });
}

#[test]
fn neighbours_are_resolved_and_kept() {
    sandbox::run(async || {
        let _neighbours = connected();
        let follower = Follower::start().await.unwrap();
        for backend in ["10.0.0.2", "2001:db8::2"].map(address) {
            until(&follower, |view| {
                view.neighbours_towards(backend).count() > 0
            })
            .await;
            keep(&follower, &[backend]);
            let hop = until_next_hop(&follower, backend).await;
            assert!(hop.on_link);
            let view = follower.view();
            assert_eq!(view.link("va").unwrap().mac, Some(hop.source_mac));
            let entry = ip(&format!("neigh show {backend} dev va"));
            assert!(entry.contains("managed"), "{entry}");
        }
    });
}

#[test]
fn a_resolved_gateway_becomes_the_way_back() {
    sandbox::run(async || {
        let _neighbours = connected();
        ip("route add default via 10.0.0.2");
        let follower = Follower::start().await.unwrap();
        until(&follower, |view| view.gateways().count() > 0).await;
        follower.keep_resolved(follower.view().gateways().collect());
        let hop = until_next_hop(&follower, address("198.51.100.7")).await;
        assert!(!hop.on_link);
        let routes = follower.view().client_routes(Family::V4, &[]).unwrap();
        let last = routes.last().unwrap();
        assert_eq!(last.prefix.prefix_len(), 0);
        assert_eq!(last.action, ClientAction::NextHop(hop));
    });
}

#[test]
fn a_neighbour_that_moves_in_silence_is_found_by_doubt() {
    sandbox::run(async || {
        let neighbours = connected();
        let follower = Follower::start().await.unwrap();
        let backend = address("10.0.0.2");
        until(&follower, |view| {
            view.neighbours_towards(backend).count() > 0
        })
        .await;
        keep(&follower, &[backend]);
        until_next_hop(&follower, backend).await;

        neighbours.ip("link set vb address 02:00:00:00:00:99");
        // Doubted again and again, as by a failing probe.
        let moved = |view: &View| match view.resolve(backend) {
            Resolution::NextHop(hop) => hop.destination_mac.0 == [2, 0, 0, 0, 0, 0x99],
            _ => false,
        };
        let mut changes = follower.changes();
        let found = async {
            while !moved(&changes.borrow_and_update()) {
                follower.doubts().reprobe(backend);
                drop(timeout(Duration::from_millis(200), changes.changed()).await);
            }
        };
        timeout(PATIENCE, found).await.unwrap();
    });
}

#[test]
fn a_dead_neighbour_becomes_unresolved_and_comes_back() {
    sandbox::run(async || {
        let neighbours = connected();
        let follower = Follower::start().await.unwrap();
        let backend = address("10.0.0.2");
        until(&follower, |view| {
            view.neighbours_towards(backend).count() > 0
        })
        .await;
        keep(&follower, &[backend]);
        until_next_hop(&follower, backend).await;

        neighbours.ip("addr del 10.0.0.2/24 dev vb");
        follower.doubts().reprobe(backend);
        until(&follower, |view| {
            matches!(view.resolve(backend), Resolution::Unresolved { .. })
        })
        .await;
        neighbours.ip("addr add 10.0.0.2/24 dev vb");
        until_next_hop(&follower, backend).await;
    });
}

#[test]
fn the_operators_own_entries_are_left_alone() {
    sandbox::run(async || {
        let _neighbours = connected();
        ip("neigh add 10.0.0.7 dev va lladdr 02:00:00:00:00:07 nud permanent");
        let follower = Follower::start().await.unwrap();
        let backend = address("10.0.0.7");
        until_next_hop(&follower, backend).await;
        keep(&follower, &[backend]);
        follower.doubts().reprobe(backend);
        keep(&follower, &[]);
        sleep(RETRY + RETRY / 2).await;
        assert!(matches!(
            follower.view().resolve(backend),
            Resolution::NextHop(_)
        ));
    });
}

#[test]
fn a_burst_that_overruns_the_socket_is_caught_up_with() {
    sandbox::run(async || {
        let _neighbours = connected();
        let follower = Follower::start().await.unwrap();
        until(&follower, |view| view.link("va").unwrap().up).await;
        // The follower shares this thread: while `ip` runs, nobody reads the socket.
        let commands =
            (0..3_000).map(|n| format!("route add 198.18.{}.{}/32 dev va", n / 256, n % 256));
        let batch = commands.collect::<Vec<_>>().join("\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), batch).unwrap();
        ip(&format!("-batch {}", file.path().display()));
        until(&follower, |view| {
            view.routes
                .iter()
                .filter(|route| route.prefix.prefix_len() == 32)
                .count()
                == 3_000
        })
        .await;
    });
}

const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until the view satisfies `wanted`.
async fn until(follower: &Follower, mut wanted: impl FnMut(&View) -> bool) {
    let mut changes = follower.changes();
    let found = timeout(PATIENCE, changes.wait_for(|view| wanted(view))).await;
    assert!(found.is_ok(), "{:#?}", follower.view());
}

async fn until_next_hop(follower: &Follower, destination: IpAddr) -> NextHop {
    let is_known = |view: &View| matches!(view.resolve(destination), Resolution::NextHop(_));
    until(follower, is_known).await;
    match follower.view().resolve(destination) {
        Resolution::NextHop(next_hop) => next_hop,
        other => panic!("{other:?}"),
    }
}

fn keep(follower: &Follower, backends: &[IpAddr]) {
    let view = follower.view();
    let neighbours = backends.iter().flat_map(|to| view.neighbours_towards(*to));
    follower.keep_resolved(neighbours.collect());
}

/// Link `va` with host 1 of 10.0.0.0/24 and `2001:db8::/64`; behind it `vb` with host 2.
fn connected() -> Neighbourhood {
    let neighbours = Neighbourhood::new();
    ip("link add va type veth peer name vb");
    ip(&format!("link set vb netns {}", neighbours.id));
    for command in [
        "addr add 10.0.0.1/24 dev va",
        "addr add 2001:db8::1/64 dev va nodad",
    ] {
        ip(command);
    }
    for command in [
        "addr add 10.0.0.2/24 dev vb",
        "addr add 2001:db8::2/64 dev vb nodad",
    ] {
        neighbours.ip(command);
    }
    neighbours.ip("link set vb up");
    ip("link set va up");
    neighbours
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
