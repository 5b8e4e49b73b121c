//! The data plane on the kernel's own maps: needs root and a BPF file system.

mod renewal;

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use lb_common::{
    flow::{Flow, FlowKey, Side},
    next_hop::NextHop,
    tracked::Tracked,
};

use super::*;
use crate::{
    config::model::{
        self, FullNat, Icmp, Mode as Forwarding, OnDown, PortRange, Ports, Protocol, Role, Tunnel,
        XdpMode,
    },
    desired::{Backend, Patience, Pool, Region, Routes, Service, TunnelSource},
    net::sandbox,
    slot_table::Part,
};

/// An instance of a test's own; nothing of it is left behind, whatever happens.
struct Instance {
    settings: Settings,
    _run: tempfile::TempDir,
}

impl Instance {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("xlb-test-{}-{number}", std::process::id());
        let run = tempfile::tempdir().unwrap();
        let settings = Settings {
            pins: Path::new("/sys/fs/bpf").join(name),
            lock: run.path().join("lock"),
            ephemeral: true,
        };
        Self {
            settings,
            _run: run,
        }
    }

    fn open(&self, config: &Config) -> Result<(Dataplane, Adopted), Error> {
        Dataplane::open(&self.settings, config, None)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Err(error) = Pins::new(&self.settings.pins).remove() {
            eprintln!("{error}");
        }
    }
}

#[test]
fn the_next_daemon_finds_what_a_killed_one_left() {
    let instance = Instance::new();
    let config = config(&[]);
    let state = state(3);
    let (mut first, adopted) = instance.open(&config).unwrap();
    assert_eq!(adopted, Adopted::default());
    assert!(first.reconcile(&state).unwrap().changes > 0);
    let (seeds, health) = (first.seeds(), first.installed().health());
    drop(first);

    let (mut second, adopted) = instance.open(&config).unwrap();
    assert!(adopted.maps && adopted.fallback.is_none());
    assert_eq!(adopted.health, health);
    assert_eq!(adopted.health.len(), 3);
    assert_eq!(second.seeds(), seeds);
    assert_eq!(second.reconcile(&state).unwrap(), Summary::default());
}

#[test]
fn a_death_moves_the_rows_of_the_dead_and_no_others() {
    let instance = Instance::new();
    let (mut dataplane, _) = instance.open(&config(&[])).unwrap();
    let mut state = state(4);
    dataplane.reconcile(&state).unwrap();
    let before = dataplane.installed().service(vip()).unwrap().checksum();
    state.services[0].backends[1].live = false;
    state.services[0].backends[1].health = Health::Down;
    let summary = dataplane.reconcile(&state).unwrap();
    assert_eq!((summary.changes, summary.rows), (2, 1024));
    state.services[0].backends[1].live = true;
    state.services[0].backends[1].health = Health::Up;
    dataplane.reconcile(&state).unwrap();
    let after = dataplane.installed().service(vip()).unwrap().checksum();
    assert!(before.is_some());
    assert_eq!(before, after);
}

#[test]
fn links_outlive_the_daemon_and_end_with_detach() {
    sandbox::run(async || {
        sandbox::ip("link add xlb0 type veth peer name xlb1");
        let instance = Instance::new();
        let config = config(&["xlb0"]);
        let (dataplane, _) = instance.open(&config).unwrap();
        dataplane.attach(&config.interfaces).unwrap();
        let attached_first = dataplane.interfaces().unwrap();
        assert_eq!(attached_first[0].mode, Mode::Native);
        drop(dataplane);

        let (dataplane, _) = instance.open(&config).unwrap();
        dataplane.attach(&config.interfaces).unwrap();
        assert_eq!(dataplane.interfaces().unwrap(), attached_first);
        dataplane.attach(&[]).unwrap();
        assert_eq!(dataplane.interfaces().unwrap(), []);
        dataplane.attach(&config.interfaces).unwrap();
        dataplane.detach().unwrap();
        let index = links::ifindex("xlb0").unwrap();
        assert_eq!(attached::attached(index).unwrap(), None);
        assert!(!instance.settings.pins.exists());
    });
}

#[test]
fn another_specialisation_is_swapped_in_under_the_same_links() {
    sandbox::run(async || {
        sandbox::ip("link add xlb0 type veth peer name xlb1");
        let instance = Instance::new();
        let config = config(&["xlb0"]);
        let (mut dataplane, _) = instance.open(&config).unwrap();
        dataplane.attach(&config.interfaces).unwrap();
        let before = dataplane.interfaces().unwrap();
        let mut state = state(1);
        dataplane.reconcile(&state).unwrap();
        assert_eq!(dataplane.interfaces().unwrap(), before);
        state.services[0].vip.address = "2001:db8::10".parse().unwrap();
        state.services[0].backends[0].address = "[2001:db8::1:1]:80".parse().unwrap();
        state.specialisation.ipv4 = false;
        state.specialisation.ipv6 = true;
        dataplane.reconcile(&state).unwrap();
        let after = dataplane.interfaces().unwrap();
        assert_ne!(before[0].program_id, after[0].program_id);
        drop(dataplane);
        let (mut dataplane, _) = instance.open(&config).unwrap();
        assert_eq!(dataplane.reconcile(&state).unwrap(), Summary::default());
        assert_eq!(dataplane.interfaces().unwrap(), after);
    });
}

#[test]
fn an_interface_that_was_made_again_is_attached_again() {
    sandbox::run(async || {
        let instance = Instance::new();
        let config = config(&["xlb0"]);
        sandbox::ip("link add xlb0 type veth peer name xlb1");
        let (mut dataplane, _) = instance.open(&config).unwrap();
        dataplane.attach(&config.interfaces).unwrap();
        sandbox::ip("link del xlb0");
        assert_eq!(dataplane.interfaces().unwrap(), []);
        dataplane.reconcile(&state(1)).unwrap();
        dataplane.swap(dataplane.meta.constants).unwrap();
        sandbox::ip("link add xlb0 type veth peer name xlb1");
        dataplane.attach(&config.interfaces).unwrap();
        assert_eq!(dataplane.interfaces().unwrap().len(), 1);
    });
}

#[test]
fn an_interface_without_native_xdp_is_attached_in_generic_mode() {
    sandbox::run(async || {
        let instance = Instance::new();
        let mut config = config(&["lo"]);
        let (dataplane, _) = instance.open(&config).unwrap();
        dataplane.attach(&config.interfaces).unwrap();
        assert_eq!(dataplane.interfaces().unwrap()[0].mode, Mode::Generic);
        config.interfaces[0].xdp = XdpMode::Native;
        let refused = dataplane.attach(&config.interfaces).unwrap_err();
        assert!(matches!(refused, Error::Attach { .. }), "{refused}");
        config.interfaces[0].name = "nowhere".into();
        let refused = dataplane.attach(&config.interfaces).unwrap_err();
        assert!(matches!(refused, Error::NoInterface(_)), "{refused}");
    });
}

#[test]
fn a_second_daemon_and_another_seed_are_refused_with_a_sentence() {
    let instance = Instance::new();
    let mut config = config(&[]);
    let (dataplane, _) = instance.open(&config).unwrap();
    let second = instance.open(&config).unwrap_err();
    assert!(matches!(second, Error::Locked { .. }), "{second}");
    config.hash_seed = Some("other".into());
    assert!(matches!(dataplane.check(&config), Err(Error::SeedChanged)));
    drop(dataplane);
    assert!(matches!(instance.open(&config), Err(Error::SeedChanged)));
}

#[test]
fn a_start_that_was_killed_is_begun_anew() {
    let instance = Instance::new();
    let config = config(&[]);
    let (dataplane, _) = instance.open(&config).unwrap();
    let mut meta = dataplane.meta;
    meta.layout_version = 0;
    maps::write_meta(&dataplane.pins, meta).unwrap();
    drop(dataplane);
    let (_, adopted) = instance.open(&config).unwrap();
    assert!(!adopted.maps);
}

#[test]
fn maps_of_another_layout_are_not_adopted() {
    let instance = Instance::new();
    let config = config(&[]);
    let (dataplane, _) = instance.open(&config).unwrap();
    let mut meta = dataplane.meta;
    let pins = dataplane.pins.clone();
    drop(dataplane);
    for version in [LAYOUT_VERSION + 1, 3] {
        meta.layout_version = version;
        maps::write_meta(&pins, meta).unwrap();
        let refused = instance.open(&config).unwrap_err();
        assert!(matches!(refused, Error::Layout { .. }), "{refused}");
    }
}

#[test]
fn counters_are_read_for_every_reason_and_backend() {
    let instance = Instance::new();
    let (mut dataplane, _) = instance.open(&config(&[])).unwrap();
    dataplane.reconcile(&state(2)).unwrap();
    let Counters {
        services,
        passed,
        answered,
        dropped,
        tracked,
    } = dataplane.counters().unwrap();
    assert_eq!(services[&vip()].backends.len(), 2);
    assert_eq!(services[&vip()].total().packets, 0);
    // The self-test's frame.
    assert_eq!(passed.iter().map(|(_, packets)| packets).sum::<u64>(), 1);
    assert_eq!(answered.iter().map(|(_, packets)| packets).sum::<u64>(), 0);
    assert_eq!(dropped.iter().map(|(_, packets)| packets).sum::<u64>(), 0);
    assert_eq!(tracked.iter().map(|(_, flows)| flows).sum::<u64>(), 0);
}

#[test]
fn flows_follow_their_backends_entry_and_end_with_it() {
    let instance = Instance::new();
    let (mut dataplane, _) = instance.open(&full_nat_config()).unwrap();
    dataplane.reconcile(&full_nat_state(2)).unwrap();
    let flow = Remembered::new(&dataplane, 2, TCP, 0);
    flow.insert(&dataplane);
    // The service outgrows its extent.
    dataplane.reconcile(&full_nat_state(30)).unwrap();
    let moved = pair(&dataplane, 2);
    assert_ne!(moved, flow.pair);
    assert_eq!(flow.pairs(&dataplane), [Some(moved); 2]);
    // A kill before flows could be led on.
    flow.insert(&dataplane);
    drop(dataplane);
    let (mut dataplane, _) = instance.open(&full_nat_config()).unwrap();
    assert_eq!(flow.pairs(&dataplane), [Some(moved); 2]);
    dataplane.reconcile(&full_nat_state(1)).unwrap();
    assert_eq!(flow.pairs(&dataplane), [None; 2]);
}

#[tokio::test]
async fn flows_that_are_over_are_taken_out_and_the_others_counted() {
    let instance = Instance::new();
    let (mut dataplane, _) = instance.open(&full_nat_config()).unwrap();
    dataplane.reconcile(&full_nat_state(1)).unwrap();
    let pair = pair(&dataplane, 1);
    let over = Remembered::new(&dataplane, 1, UDP, 60);
    let lasting = Remembered::new(&dataplane, 1, TCP, 60);
    over.insert(&dataplane);
    lasting.insert(&dataplane);
    let sweeper = dataplane.sweeper().unwrap().unwrap();
    let _swept = tokio::time::timeout(Duration::from_millis(300), sweeper.run()).await;
    assert_eq!(over.pairs(&dataplane), [None; 2]);
    assert_eq!(lasting.pairs(&dataplane), [Some(pair); 2]);
    assert_eq!(
        dataplane.usage().places(pair),
        2,
        "those of the one that is over, too"
    );
}

#[test]
fn a_map_for_flows_is_made_when_they_begin_to_be_remembered() {
    let instance = Instance::new();
    let (mut dataplane, _) = instance.open(&config(&[])).unwrap();
    dataplane.reconcile(&state(1)).unwrap();
    assert!(dataplane.sweeper().unwrap().is_none());
    dataplane.reconcile(&full_nat_state(1)).unwrap();
    assert!(dataplane.sweeper().unwrap().is_some());
    let flow = Remembered::new(&dataplane, 1, TCP, 0);
    flow.insert(&dataplane);
    drop(dataplane);
    let (dataplane, _) = instance.open(&full_nat_config()).unwrap();
    assert_eq!(
        dataplane.maps.sizes().flows,
        sizes::flows(&full_nat_config())
    );
    assert_eq!(flow.pairs(&dataplane), [Some(flow.pair); 2]);
}

#[test]
fn flows_count_at_once_though_a_second_passed_that_nobody_told() {
    let instance = Instance::new();
    let (mut dataplane, _) = instance.open(&config(&[])).unwrap();
    let told = |dataplane: &Dataplane| clock::told(&dataplane.pins).unwrap();
    let before = told(&dataplane);
    std::thread::sleep(Duration::from_millis(1100));
    dataplane.reconcile(&state(1)).unwrap();
    let service = dataplane.installed().service(vip()).unwrap();
    let since = service.backends().next().unwrap().1.since;
    let now = told(&dataplane);
    assert!(now > before);
    let flow = Tracked::half_open(0, 1, now, 0);
    assert!(flow.is_since(since, now));
}

#[test]
fn a_path_is_forgotten_after_ten_minutes() {
    let instance = Instance::new();
    let (mut dataplane, _) = instance.open(&config(&[])).unwrap();
    let mut state = state(1);
    let source = TunnelSource {
        address: "192.0.2.1".parse().unwrap(),
        spread: 0,
    };
    state.services[0].backends[0].forwarding = desired::Forwarding::Ipip(source);
    dataplane.reconcile(&state).unwrap();
    let index = dataplane.installed().paths().next().unwrap();
    let offset = Region::Paths.offset(index.into());
    let now = dataplane.time.clock().now;
    for (learned, stays) in [(now, true), (now.saturating_sub(600), false)] {
        let path = lb_common::path::Path::new(1400, learned);
        dataplane
            .maps
            .store_u64(Region::Paths, offset, path.0)
            .unwrap();
        dataplane.forget_old_paths().unwrap();
        let left = dataplane.maps.load(Region::Paths, offset);
        assert_eq!(left != Some(0), stays);
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Both entries of a flow of full NAT.
struct Remembered {
    pair: u32,
    entries: [(FlowKey, Flow); 2],
}

impl Remembered {
    /// A client's flow to a backend, idle for so many seconds.
    fn new(dataplane: &Dataplane, number: u8, protocol: u8, idle: u32) -> Self {
        let pair = pair(dataplane, number);
        let ip = |text: &str| text.parse::<std::net::IpAddr>().unwrap().into();
        let (client, vip) = (ip("198.51.100.1"), vip().address.into());
        let (pool, backend) = (ip("192.0.2.1"), backend(number).ip().into());
        let flow = |source, destination, ports| Flow {
            source,
            destination,
            ports,
            pair,
            seen: dataplane.time.clock().now.saturating_sub(idle),
            ..Flow::default()
        };
        let key = |side, source, destination, ports: [u8; 4]| {
            FlowKey::new(
                side,
                source,
                destination,
                lb_common::wire::Ports::from_bytes(ports),
                protocol,
            )
        };
        // Ports 40000 of the client, 80 of the VIP, 10000 of the pool, 8080 of the backend.
        let forth = (
            key(Side::Client, client, vip, [156, 64, 0, 80]),
            flow(pool, backend, [39, 16, 31, 144]),
        );
        let back = (
            key(Side::Backend, backend, pool, [31, 144, 39, 16]),
            flow(vip, client, [0, 80, 156, 64]),
        );
        Self {
            pair,
            entries: [forth, back],
        }
    }

    fn insert(&self, dataplane: &Dataplane) {
        let mut flows = maps::flows(&dataplane.pins, dataplane.maps.sizes()).unwrap();
        for (key, flow) in &self.entries {
            flows.insert(key, flow).unwrap();
        }
    }

    /// The pairs that its entries name.
    fn pairs(&self, dataplane: &Dataplane) -> [Option<u32>; 2] {
        let flows = maps::flows(&dataplane.pins, dataplane.maps.sizes()).unwrap();
        let entries = self.entries.each_ref();
        entries.map(|(key, _)| Some(flows.entry(key).unwrap()?.pair))
    }
}

fn pair(dataplane: &Dataplane, number: u8) -> u32 {
    let service = dataplane.installed().service(vip()).unwrap();
    let mut backends = service.backends();
    let found = backends.find(|(_, entry)| entry.address == backend(number));
    found.unwrap().0
}

fn full_nat_config() -> Config {
    let mut config = config(&[]);
    let service = &mut config.services[0];
    service.backends.extend_from_within(..);
    service.backends.extend_from_within(..);
    service.backends.extend_from_within(..);
    for backend in &mut service.backends {
        backend.mode = Forwarding::FullNat;
    }
    config
}

fn full_nat_state(backends: u8) -> State {
    let mut state = state(backends);
    state.pools = vec![Pool {
        addresses: vec!["192.0.2.1".parse().unwrap()],
        ports: PortRange {
            first: 10_000,
            last: 20_000,
        },
    }];
    for backend in &mut state.services[0].backends {
        backend.forwarding = desired::Forwarding::FullNat(0);
    }
    state.flows = sizes::flows(&full_nat_config());
    state.specialisation = Specialisation::of(&full_nat_config(), true);
    state
}

fn vip() -> Vip {
    let address = "203.0.113.10".parse().unwrap();
    Vip {
        address,
        ports: Ports::One(80),
        protocol: Protocol::Tcp,
    }
}

fn backend(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 8080))
}

fn config(interfaces: &[&str]) -> Config {
    let interface = |name: &&str| Interface {
        name: (*name).into(),
        xdp: XdpMode::Auto,
        role: Role::Both,
    };
    let backends = (1..=4).map(|number| model::Backend {
        name: backend(number).to_string(),
        address: backend(number),
        mode: Forwarding::Nat,
        weight: 1,
        tier: 0,
    });
    Config {
        interfaces: interfaces.iter().map(interface).collect(),
        hash_seed: None,
        direct: Vec::new(),
        icmp: Icmp::default(),
        announce: None,
        peers: None,
        via_vip: model::ViaVip::default(),
        notify: Vec::new(),
        services: vec![model::Service {
            name: "web".into(),
            vip: vip(),
            mode: Forwarding::Nat,
            slots: None,
            probe: None,
            tunnel: Tunnel::default(),
            full_nat: FullNat::default(),
            mss: None,
            idle: Duration::from_mins(15),
            drain_deadline: Duration::from_hours(1),
            on_down: OnDown::Rehash,
            quic: false,
            affinity: None,
            announce: true,
            guards: model::Guards::default(),
            recovery: model::Recovery::default(),
            passive: model::Passive::default(),
            backends: backends.collect(),
        }],
    }
}

fn state(backends: u8) -> State {
    let backend = |number| Backend {
        address: backend(number),
        forwarding: desired::Forwarding::Nat,
        shared: false,
        weight: 1,
        health: Health::Up,
        live: true,
        part: Part::WHOLE,
        keeps: true,
        leaving: false,
        next_hop: NextHop::UNRESOLVED,
        mtu: 1500,
    };
    State {
        services: vec![Service {
            vip: vip(),
            slots: 1 << 12,
            mss: 0,
            patience: Patience {
                idle: 900,
                deadline: 3600,
                resets: false,
                learns: false,
                hands_over: false,
                refuses: false,
                affinity: 0,
            },
            backends: (1..=backends).map(backend).collect(),
        }],
        addresses: [(vip().address, lb_common::directory::VIP)].into(),
        pools: Vec::new(),
        interfaces: BTreeMap::new(),
        routes: Routes::default(),
        flows: 0,
        tracks: false,
        cut: None,
        specialisation: Specialisation::of(&config(&[]), true),
    }
}
