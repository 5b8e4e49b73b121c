//! Source addresses and ports of `full-nat`.

use std::{
    collections::BTreeSet,
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use lb_tests::{
    config::Service,
    damage,
    echo::{Connection, Echo},
    load::{ask_udp, udp},
    servers::UdpNames,
    wait::eventually,
};
use lb_userspace::{
    config::model::{Mode, Protocol},
    lab::{Family, Topology},
};

use crate::{
    backends::{Backends, curl, names, network, web},
    page::{dropped, sample},
    site::{SOON, connects, nothing_was_dropped, start},
};

/// One backend, and two places in the pool.
const fn scarce(protocol: Protocol) -> Service<'static> {
    Service {
        name: "scarce",
        mode: Mode::FullNat,
        protocol,
        port: 7007,
        backend_port: 7007,
        probe: "none",
        weights: &[1],
        more: &["full_nat: { ports: 2000-2001 }"],
        ..Service::WEB
    }
}

#[test]
fn a_connection_that_finds_no_place_in_the_pool_is_dropped_and_counted() {
    const USED: &str = "xlb_full_nat_places_used{service=\"scarce\",backend=\"b1\"}";
    let topology = Topology::two_armed(network(Mode::FullNat)).unwrap();
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 7007));
    let _echo = Echo::start(&topology.backends[0].namespace, "b1", any).unwrap();
    let service = scarce(Protocol::Tcp);
    let xlb = start(&topology, &[service]);
    assert_eq!(sample(&xlb, USED), 0);
    let client = &topology.client.namespace;
    let open = || Connection::open(service.vip(&topology)).unwrap();
    let mut held = [(); 2].map(|()| client.enter(open).unwrap());
    assert_eq!(dropped(&xlb, "pool_exhausted"), 0);
    assert!(!connects(client, service.vip(&topology)));
    assert!(dropped(&xlb, "pool_exhausted") >= 1);
    eventually("two places are in use", SOON, || {
        (sample(&xlb, USED) == 2).then_some(())
    })
    .unwrap();
    assert!(
        held.iter_mut()
            .all(|open| open.returns(b"still there").unwrap())
    );
    damage::assert_none(&topology).unwrap();
}

#[test]
fn a_flow_that_finds_no_place_in_the_pool_is_dropped_and_counted() {
    let topology = Topology::two_armed(network(Mode::FullNat)).unwrap();
    let service = scarce(Protocol::Udp);
    let server = topology.backends[0].link.address.of(Family::V4);
    let server = SocketAddr::new(server, 7007);
    let host = &topology.backends[0].namespace;
    let server = UdpNames::start(host, "b1", server).unwrap();
    let xlb = start(&topology, &[service]);
    let flows = || {
        let vip = service.vip(&topology);
        let sockets: [UdpSocket; 3] = std::array::from_fn(|_| udp(vip).unwrap());
        sockets[2]
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        // Each twice: a flow that has a place keeps it.
        [0, 1, 0, 1, 2, 0, 1].map(|flow: usize| ask_udp(&sockets[flow], b"who?").is_ok())
    };
    let answered = topology.client.namespace.enter(flows).unwrap();
    assert_eq!(answered, [true, true, true, true, false, true, true]);
    assert_eq!(dropped(&xlb, "pool_exhausted"), 1);
    drop(server);
    damage::assert_none(&topology).unwrap();
}

#[test]
fn backends_see_the_addresses_of_the_pool() {
    let topology = Topology::two_armed(network(Mode::FullNat)).unwrap();
    let _backends = Backends::start(&topology, Mode::FullNat);
    let pools = [["10.0.0.2", "10.0.0.3"], ["2001:db8:a::2", "2001:db8:a::3"]];
    let balancer = &topology.balancer;
    for (pool, length) in pools.iter().zip([24, 64]) {
        let interface = &balancer.back.interface;
        let add = |address| format!("addr add {address}/{length} dev {interface}");
        balancer.namespace.ip(pool.map(add)).unwrap();
    }
    let own =
        pools.map(|[one, other]| format!("full_nat: {{ sources: [\"{one}\", \"{other}\"] }}"));
    let more = own.each_ref().map(|line| [line.as_str()]);
    let services = [0, 1].map(|index: usize| {
        let family = Family::ALL[index];
        [web(family, Mode::FullNat), names(family, Mode::FullNat)].map(|service| Service {
            more: &more[index],
            ..service
        })
    });
    let xlb = start(&topology, services.as_flattened());
    for ([web, _], pool) in services.iter().zip(pools) {
        let vip = web.vip(&topology);
        let seen = (0..40).map(|_| curl(&topology, vip, "/client", &[]).trim().to_owned());
        let seen: BTreeSet<_> = seen.collect();
        assert_eq!(seen, pool.map(str::to_owned).into());
    }
    damage::assert_none(&topology).unwrap();
    nothing_was_dropped(&xlb);
}

/// Without addresses in the file the pool is an address of the balancer, which backends on its link can
/// reach.
#[test]
fn backends_see_the_balancer_where_the_file_names_no_addresses() {
    let topology = Topology::two_armed(network(Mode::FullNat)).unwrap();
    let _backends = Backends::start(&topology, Mode::FullNat);
    let services = Family::ALL.map(|family| web(family, Mode::FullNat));
    let xlb = start(&topology, &services);
    for service in services {
        let seen = curl(&topology, service.vip(&topology), "/client", &[]);
        let balancer = topology.balancer.back.address.of(service.family);
        assert_eq!(seen.trim(), balancer.to_string());
    }
    nothing_was_dropped(&xlb);
}
