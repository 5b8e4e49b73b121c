//! New flows on every CPU at once: no place of a pool is given to two of them, and none is lost.
#![expect(
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "tests panic, so that the place is known"
)]

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    thread,
};

use aya::maps::{HashMap, MapData};
use lb_common::{
    backend::Mode,
    flow::{Flow, FlowKey, Side},
    maps,
    next_hop::NextHop,
};
use lb_tests::{
    frame::Frame,
    kernel::{INGRESS, Kernel},
    packet::{OUR_MAC, TCP},
    sandbox,
    world::{Link, Service, World, pool},
};
use zerocopy::FromBytes as _;

const BACKEND: NextHop = NextHop::new([2, 0, 0, 0, 0, 0xb1], INGRESS, true);
/// Places of the pool, and flows that want one: nearly as many, so that most tries meet one that is taken.
const PLACES: u16 = 2_000;
const FLOWS: u16 = 1_900;
const CPUS: usize = 4;

#[test]
fn cpus_that_begin_flows_at_once_share_no_place() {
    sandbox::run(|| {
        let kernel = Kernel::load(&world().image());
        // Every CPU begins every flow, in an order of its own.
        thread::scope(|scope| {
            for cpu in 0..CPUS {
                let kernel = &kernel;
                scope.spawn(move || {
                    for n in 0..FLOWS {
                        let step = [1, 7, 11, 13].get(cpu).copied().unwrap_or(1);
                        let client = (u32::from(n) * step % u32::from(FLOWS)) as u16;
                        let _action = kernel.run(&request(client));
                    }
                });
            }
        });
        let (clients, replies) = sides(&kernel);
        let places: BTreeSet<_> = clients.iter().map(|(_, flow)| reply_key(flow)).collect();
        assert_eq!(places.len(), clients.len(), "a place is two flows'");
        let keys: BTreeSet<FlowKey> = replies.iter().map(|(key, _)| *key).collect();
        assert_eq!(
            places, keys,
            "each flow has both sides, and no side is left over"
        );
        // 32 tries do not find the last places of a pool that is nearly full.
        assert!(
            clients.len() > usize::from(FLOWS) * 9 / 10,
            "{}",
            clients.len()
        );
    });
}

type Entries = Vec<(FlowKey, Flow)>;

/// Remembered flows, by side.
fn sides(kernel: &Kernel) -> (Entries, Entries) {
    let map = kernel.ebpf.map(maps::FLOWS).expect("the map");
    let map: HashMap<&MapData, [u8; size_of::<FlowKey>()], [u8; size_of::<Flow>()]> =
        HashMap::try_from(map).expect("its sizes");
    let entries = map.iter().map(|entry| {
        let (key, flow) = entry.expect("an entry");
        let key = FlowKey::read_from_bytes(&key).expect("its size");
        (key, Flow::read_from_bytes(&flow).expect("its size"))
    });
    entries.partition(|(key, _)| key.is_of(Side::Client))
}

const fn reply_key(flow: &Flow) -> FlowKey {
    let ports = flow.ports().reversed();
    FlowKey::new(Side::Backend, flow.destination, flow.source, ports, TCP)
}

fn vip() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 10], 80))
}

fn request(client: u16) -> Vec<u8> {
    let [a, b] = client.to_be_bytes();
    Frame::new(
        TCP,
        SocketAddr::from(([198, 51, 100, a], 40_000 + u16::from(b))),
        vip(),
    )
    .bytes()
}

/// One service with one backend under full NAT.
fn world() -> World {
    let backend = (SocketAddr::from(([10, 0, 0, 11], 8080)), BACKEND);
    let source = IpAddr::from([10, 0, 0, 1]);
    World {
        interfaces: vec![(INGRESS, OUR_MAC, true)],
        services: vec![Service {
            links: vec![Link {
                mode: Mode::FullNat,
                ..Link::NAT
            }],
            ..Service::new(vip(), TCP, vec![backend], 4)
        }],
        pools: vec![pool(&[source], 10_000, PLACES)],
        flows: 8_192,
        ..World::default()
    }
}
