//! Maps that take the place of others, and daemons that are killed while they do.

use lb_common::{
    counters::Traffic,
    maps::{FLOWS, TIMES, TRACKED},
    row::{Row, Times},
};

use super::*;
use crate::dataplane::{
    layout,
    program::OBJECT,
    steps::{Step, kill_at},
};

/// Something in every map that the data path writes.
struct Traces {
    flow: Remembered,
    pair: u32,
}

const COUNTED: Traffic = Traffic {
    packets: 3,
    bytes: 300,
    return_packets: 2,
    return_bytes: 200,
};

impl Traces {
    fn leave(dataplane: &mut Dataplane) -> Self {
        let flow = Remembered::new(dataplane, 1, TCP, 0);
        flow.insert(dataplane);
        let pair = pair(dataplane, 2);
        dataplane.maps.counted.count(pair, COUNTED).unwrap();
        let traces = Self { flow, pair };
        Self::touch(&mut dataplane.maps, dataplane.time.clock().now);
        traces
    }

    /// A packet of the first row goes elsewhere.
    fn touch(maps: &mut Maps, now: u32) {
        let times: u64 = zerocopy::transmute!([Times::at(now), Times::default()]);
        maps.store_u64(Region::Times, 0, times).unwrap();
    }

    /// Asserts that they are there; packets of the pair by now.
    fn follow(&self, dataplane: &Dataplane, touched: u32, packets: u64) {
        let pair = self.flow.pair;
        assert_eq!(self.flow.pairs(dataplane), [Some(pair); 2]);
        assert_eq!(
            dataplane.maps.times(0, 0).elsewhere,
            Times::at(touched).elsewhere
        );
        let traffic = dataplane.maps.counted.traffic(self.pair).unwrap();
        assert_eq!(traffic.packets, packets);
        assert_eq!(traffic.bytes, packets * 100);
    }
}

/// A configuration with a small pool, and so a small map of flows.
fn few_flows() -> Config {
    let mut config = full_nat_config();
    config.services[0].full_nat.ports.last = config.services[0].full_nat.ports.first + 255;
    config
}

fn of_few_flows(backends: u8) -> State {
    State {
        flows: sizes::flows(&few_flows()),
        ..full_nat_state(backends)
    }
}

/// What outgrows every map but that of interfaces and of ranges.
fn large(services: u8) -> State {
    let mut state = of_few_flows(3);
    let first = state.services[0].clone();
    for number in 1..services {
        let mut service = first.clone();
        service.backends = of_few_flows(12).services[0].backends.clone();
        service.vip.address = [203, 0, 113, 100 + number].into();
        state
            .addresses
            .insert(service.vip.address, lb_common::directory::VIP);
        for (backend, last) in service.backends.iter_mut().zip(10..) {
            backend.address = SocketAddr::from(([10, 1, number, last], 80));
        }
        state.services.push(service);
    }
    for number in 2..60 {
        state.pools.push(Pool {
            addresses: vec![[192, 0, 2, number].into()],
            ports: state.pools[0].ports,
        });
    }
    let tunnels = &mut state.services[1..];
    let source = TunnelSource {
        address: "192.0.2.1".parse().unwrap(),
        spread: 0,
    };
    for backend in tunnels.iter_mut().flat_map(|it| &mut it.backends) {
        backend.forwarding = desired::Forwarding::Ipip(source);
    }
    state.flows *= 2;
    state.specialisation.modes |= lb_common::backend::Mode::Ipip.bit();
    state
}

fn rows(dataplane: &Dataplane) -> std::collections::HashMap<u32, u32> {
    dataplane.installed().service(vip()).unwrap().shares()
}

#[test]
fn maps_grow_with_all_that_is_in_them() {
    let instance = Instance::new();
    let config = few_flows();
    let (mut dataplane, _) = instance.open(&config).unwrap();
    dataplane.reconcile(&of_few_flows(3)).unwrap();
    let traces = Traces::leave(&mut dataplane);
    let now = dataplane.time.clock().now;
    let (before, shares) = (*dataplane.maps.sizes(), rows(&dataplane));
    let sweepers = dataplane.flow_map();

    let state = large(150);
    assert!(dataplane.reconcile(&state).unwrap().changes > 0);
    let sizes = *dataplane.maps.sizes();
    let grown = |length: fn(&Sizes) -> u32| length(&sizes) > length(&before);
    assert!(grown(|it| it.sets), "{before:?} {sizes:?}");
    assert!(grown(|it| it.elements) && grown(|it| it.backends));
    assert!(grown(|it| it.pools) && grown(|it| it.paths) && grown(|it| it.flows));
    assert!(!grown(|it| it.buckets) && !grown(|it| it.interfaces));
    assert_ne!(dataplane.flow_map(), sweepers);
    traces.follow(&dataplane, now, 3);
    assert_eq!(rows(&dataplane), shares);
    assert!(!dataplane.pins.next().maps().exists());
    assert_eq!(maps::read_sizes(&dataplane.pins).unwrap(), sizes);
    assert_eq!(dataplane.reconcile(&state).unwrap(), Summary::default());

    drop(dataplane);
    let (mut dataplane, adopted) = instance.open(&config).unwrap();
    assert!(adopted.maps && adopted.fallback.is_none());
    assert_eq!(dataplane.maps.sizes(), &sizes);
    // Pools that no backend has are not found again, and put back.
    assert_eq!(dataplane.reconcile(&state).unwrap().rows, 0);
    traces.follow(&dataplane, now, 3);
    // Nothing shrinks.
    dataplane.reconcile(&of_few_flows(3)).unwrap();
    assert_eq!(dataplane.maps.sizes(), &sizes);
    traces.follow(&dataplane, now, 3);
}

/// Counters that were carried over go with an entry that moves, and end with one that is used again.
#[test]
fn what_was_counted_before_a_growth_goes_where_its_backend_goes() {
    let instance = Instance::new();
    let (mut dataplane, _) = instance.open(&few_flows()).unwrap();
    dataplane.reconcile(&of_few_flows(3)).unwrap();
    let traces = Traces::leave(&mut dataplane);
    dataplane.reconcile(&large(150)).unwrap();
    dataplane.maps.counted.count(traces.pair, COUNTED).unwrap();
    let mut state = large(150);
    state.services[0] = of_few_flows(60).services[0].clone();
    dataplane.reconcile(&state).unwrap();
    let moved = pair(&dataplane, 2);
    assert_ne!(moved, traces.pair);
    let traffic = |pair| dataplane.maps.counted.traffic(pair).unwrap();
    assert_eq!(traffic(moved).packets, 6);
    let counters = dataplane.counters().unwrap();
    assert_eq!(counters.services[&vip()].backends[&backend(2)].packets, 6);
    assert_eq!(traffic(pair(&dataplane, 50)).packets, 0);
}

/// Whatever a daemon was about to do, the next one finds all that there was, and can do it.
#[test]
fn a_growth_may_be_killed_at_every_step() {
    for step in Step::ALL {
        let instance = Instance::new();
        let config = few_flows();
        let (mut dataplane, _) = instance.open(&config).unwrap();
        dataplane.reconcile(&of_few_flows(3)).unwrap();
        let traces = Traces::leave(&mut dataplane);
        let now = dataplane.time.clock().now;
        Traces::touch(&mut dataplane.maps, now - 5);
        let (before, shares) = (*dataplane.maps.sizes(), rows(&dataplane));
        kill_at(Some(step));
        let killed = dataplane.reconcile(&large(150)).unwrap_err();
        kill_at(None);
        assert!(matches!(killed, Error::Killed), "{step:?}: {killed}");
        drop(dataplane);
        let late = leave_late_traces(&instance, &traces, now);

        let (mut dataplane, adopted) = instance.open(&config).unwrap();
        assert!(adopted.maps && adopted.fallback.is_none(), "{step:?}");
        let goes_on = matches!(
            step,
            Step::Committed | Step::Switched | Step::Pinned | Step::Carried
        );
        assert_eq!(dataplane.maps.sizes() != &before, goes_on, "{step:?}");
        let folder = fs::read_dir(dataplane.pins.folder()).unwrap();
        let names: Vec<_> = folder.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(
            names.len(),
            3,
            "{step:?}: program, detours, maps: {names:?}"
        );
        traces.follow(&dataplane, now, late);
        assert_eq!(rows(&dataplane), shares, "{step:?}");
        let first = dataplane.reconcile(&large(150)).unwrap();
        let again = dataplane.reconcile(&large(150)).unwrap();
        assert_eq!(again, Summary::default(), "{step:?}: {first:?}");
        traces.follow(&dataplane, now, late);
    }
}

/// What packets may do to the former maps until the links run the other program; packets counted.
fn leave_late_traces(instance: &Instance, traces: &Traces, now: u32) -> u64 {
    let pins = Pins::new(&instance.settings.pins);
    let mut former = Maps::open(&pins).unwrap();
    Traces::touch(&mut former, now);
    let more = Traffic {
        packets: 4,
        bytes: 400,
        ..COUNTED
    };
    former.counted.count(traces.pair, more).unwrap();
    4
}

#[test]
fn a_growth_for_which_there_is_no_memory_changes_nothing() {
    let instance = Instance::new();
    let config = few_flows();
    let (mut dataplane, _) = instance.open(&config).unwrap();
    dataplane.reconcile(&of_few_flows(3)).unwrap();
    let traces = Traces::leave(&mut dataplane);
    let now = dataplane.time.clock().now;
    let id = maps::id(&dataplane.pins, FLOWS).unwrap();
    let wanted = Specialisation::of_program(&dataplane.meta.constants);
    let before = *dataplane.maps.sizes();
    let sizes = Sizes {
        backends: 1 << 30,
        ..before
    };
    let grown = dataplane.installed.in_maps_of(&sizes);
    let refused = dataplane.grow(&sizes, grown, wanted).unwrap_err();
    assert!(matches!(refused, Error::NoMemory { .. }), "{refused}");
    assert!(refused.to_string().contains("MiB"), "{refused}");
    assert!(!dataplane.pins.next().maps().exists());
    // Nor does the kernel make every map.
    let next = dataplane.pins.next();
    next.make_map_folder().unwrap();
    let most = Sizes {
        flows: u32::MAX,
        ..before
    };
    let refused = Program::load(&next, &most, dataplane.meta.constants);
    let refused = refused.err().unwrap();
    assert!(matches!(refused, Error::MakeMap { .. }), "{refused}");
    assert!(refused.to_string().contains("FLOWS"), "{refused}");
    next.remove_map_folder().unwrap();
    assert_eq!(maps::id(&dataplane.pins, FLOWS).unwrap(), id);
    traces.follow(&dataplane, now, 3);
    let again = dataplane.reconcile(&of_few_flows(3)).unwrap();
    assert_eq!(again, Summary::default());
}

/// The object, but that its programs drop what they should leave to the kernel.
fn broken_object() -> &'static [u8] {
    const RETURN_PASS: [u8; 8] = [0xb4, 0, 0, 0, 2, 0, 0, 0];
    const RETURN_DROP: [u8; 8] = [0xb4, 0, 0, 0, 1, 0, 0, 0];
    let mut object = OBJECT.to_vec();
    let mut found = 0;
    for instruction in object.as_chunks_mut().0 {
        if *instruction == RETURN_PASS {
            *instruction = RETURN_DROP;
            found += 1;
        }
    }
    assert!(found > 0);
    // The loader wants what `include_bytes_aligned` gives: an address that is a multiple of 32.
    let mut aligned = vec![0; object.len() + 32];
    let begin = aligned.as_ptr().align_offset(32);
    aligned[begin..begin + object.len()].copy_from_slice(&object);
    &aligned.leak()[begin..begin + object.len()]
}

#[test]
fn a_program_that_fails_its_self_test_takes_nobodys_place() {
    sandbox::run(async || {
        sandbox::ip("link add xlb0 type veth peer name xlb1");
        let instance = Instance::new();
        let config = config(&["xlb0"]);
        let (mut dataplane, _) = instance.open(&config).unwrap();
        dataplane.attach(&config.interfaces).unwrap();
        dataplane.reconcile(&state(1)).unwrap();
        let runs = dataplane.interfaces().unwrap();
        dataplane.object = broken_object();
        // An upgrade, another specialisation, a growth.
        dataplane.meta.program = 0;
        let fallback = dataplane.renew().unwrap().expect("the one before goes on");
        assert!(fallback.contains("self-test"), "{fallback}");
        let mut other = state(1);
        other.specialisation.icmp_rate += 1;
        let refused = dataplane.reconcile(&other).unwrap_err();
        assert!(matches!(refused, Error::SelfTest(_)), "{refused}");
        let refused = dataplane.reconcile(&large(150)).unwrap_err();
        assert!(matches!(refused, Error::SelfTest(_)), "{refused}");
        assert_eq!(dataplane.interfaces().unwrap(), runs);
        assert!(!dataplane.pins.next().maps().exists());
        dataplane.object = OBJECT;
        dataplane.reconcile(&other).unwrap();
        assert_ne!(dataplane.interfaces().unwrap(), runs);
    });
}

/// Makes pins what a daemon of layout 4 would have left.
fn age(dataplane: Dataplane) -> Pins {
    const NOBODY: u32 = 0x3fff_ffff;
    let (pins, mut meta) = (dataplane.pins.clone(), dataplane.meta);
    drop(dataplane);
    for name in [TIMES, TRACKED, lb_common::maps::CARRIED] {
        pins::remove_file(&pins.map(name)).unwrap();
    }
    let mut slots = maps::region(&pins, Region::Slots).unwrap();
    for offset in slots.offsets().flat_map(|word| [word, word + 4]) {
        let word = slots.load(offset / 8 * 8).unwrap();
        let rows: [u32; 2] = zerocopy::transmute!(word);
        if rows[offset / 4 % 2] == Row::EMPTY.0 {
            slots.store_u32(offset, NOBODY).unwrap();
        }
    }
    meta.layout_version = 4;
    meta.constants.bucket_mask = 0;
    meta.constants.features &= !(lb_common::maps::Feature::Tracking as u32);
    meta.program = 4;
    maps::write_meta(&pins, meta).unwrap();
    pins
}

/// The real thing, with packets, is a test of its own: `layout_4` among those of whole systems.
#[test]
fn maps_of_layout_4_are_taken_over_wherever_that_is_killed() {
    for step in [None].into_iter().chain(Step::ALL.map(Some)) {
        let instance = Instance::new();
        let config = few_flows();
        let mut state = of_few_flows(3);
        state.services.extend(super::state(0).services);
        state.services[1].vip.address = "203.0.113.11".parse().unwrap();
        let (mut dataplane, _) = instance.open(&config).unwrap();
        dataplane.reconcile(&state).unwrap();
        let traces = Traces::leave(&mut dataplane);
        let (seeds, shares) = (dataplane.seeds(), rows(&dataplane));
        let pins = age(dataplane);
        kill_at(step);
        let begun = instance.open(&config);
        kill_at(None);
        match (step, begun) {
            (Some(_), Err(Error::Killed)) | (None | Some(Step::Both | Step::Copied), Ok(_)) => {}
            (_, other) => panic!("{step:?}: {other:?}"),
        }
        let (mut dataplane, adopted) = instance.open(&config).unwrap();
        assert!(adopted.maps && adopted.fallback.is_none());
        assert_eq!((dataplane.seeds(), rows(&dataplane)), (seeds, shares));
        let found = layout::read(&pins).unwrap();
        assert!(matches!(found, Some(Found::Ours(_))));
        // Neither times nor rows of nobody are as they were: they are as they are today.
        dataplane.reconcile(&state).unwrap();
        traces.follow(&dataplane, 0, 3);
        let empty = state.services[1].vip;
        let empty = dataplane.installed().service(empty).unwrap();
        assert_eq!((empty.moving_rows(), empty.shares().len()), (0, 0));
        assert_eq!(dataplane.reconcile(&state).unwrap(), Summary::default());
    }
}
