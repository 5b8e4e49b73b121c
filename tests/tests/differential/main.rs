//! The kernel program and the host build of the same data path agree, byte for byte, on random
//! frames in random worlds.
//!
//! `XLB_SEED` repeats a run, `XLB_PACKETS` asks for a longer or a shorter one.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests panic, so that the place is known"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "random bits, of which a part is taken"
)]

mod packets;
mod worlds;

use std::{collections::BTreeMap, time::SystemTime};

use packets::History;

use lb_common::{AnswerReason, DropReason, PassReason, Verdict, datapath::Fib};
use lb_userspace::dataplane::tracks_flows;

use lb_tests::{
    counters::Counters,
    fixture::{difference, hex},
    image::{self, Host},
    kernel::{self, INGRESS, Kernel},
    random::Random,
    sandbox,
};

/// Worlds of a full run, each with programs of its own.
const WORLDS: usize = 60;
/// Random frames of all worlds, unless `XLB_PACKETS` says otherwise.
const PACKETS: usize = 1_000_000;
/// Sound frames of each world of which every truncation is tried.
const TRUNCATED: usize = 5;

/// What became of the frames.
#[derive(Clone, Debug, Default)]
struct Tally {
    all: usize,
    forwarded: usize,
    returned: usize,
    /// Flows that were remembered in the end.
    remembered: usize,
    /// Flows that were to be tracked, by what became of them.
    tracked: BTreeMap<&'static str, u64>,
    /// Paths of tunnels of which something was known in the end.
    learned: usize,
    /// Answered, left to the kernel or dropped, by the reason's label.
    reasons: BTreeMap<&'static str, usize>,
}

#[test]
fn kernel_and_host_agree_on_random_packets_in_random_worlds() {
    let now = SystemTime::now();
    let seed = number("XLB_SEED").unwrap_or_else(|| new_seed(now));
    let packets = number("XLB_PACKETS").map_or(PACKETS, |packets| packets as usize);
    println!("XLB_SEED={seed} XLB_PACKETS={packets}");
    let worlds = worlds_of(packets);
    let tally = sandbox::run(move || {
        let mut random = Random::new(seed);
        (0..worlds).fold(Tally::default(), |tally, _| {
            in_a_world(&mut random, packets.div_ceil(worlds), tally)
        })
    });
    let took = now.elapsed().expect("a clock");
    let rate = tally.all as u128 / took.as_millis().max(1);
    println!("{tally:#?} in {took:.1?}: {rate} packets/ms");
    assert!(tally.forwarded * 6 > packets, "few go the whole way");
    assert!(tally.returned * 20 > packets, "few come back");
    if packets < PACKETS {
        println!("too few packets to insist that each reason is met");
        return;
    }
    assert!(tally.remembered > worlds, "few flows are remembered");
    assert!(tally.learned > 0, "no path is learned");
    let fates = if tracks_flows() { 2 } else { 0 };
    assert_eq!(tally.tracked.len(), fates, "some find a place, some do not");
    for label in labels() {
        assert!(tally.reasons.contains_key(label), "{label}: never seen");
    }
}

/// Fewer for a shorter run: programs take their time to load, most of all on a kernel that is emulated.
fn worlds_of(packets: usize) -> usize {
    (packets / 3000).clamp(1, WORLDS)
}

/// Of every reason, but those that take a kernel that forwards, which the fixtures have, or a frame
/// without room before it, which the kernel's test runner has not.
fn labels() -> impl Iterator<Item = &'static str> {
    let passed = PassReason::ALL.iter().map(|reason| reason.label());
    let answered = AnswerReason::ALL.iter().map(|reason| reason.label());
    let dropped = DropReason::ALL.iter().map(|reason| reason.label());
    let never = [
        PassReason::ClientUnresolved.label(),
        DropReason::NoHeadroom.label(),
    ];
    passed
        .chain(answered)
        .chain(dropped)
        .filter(move |label| !never.contains(label))
}

fn new_seed(now: SystemTime) -> u64 {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.expect("a clock").as_nanos() as u64
}

/// A number that the environment sets.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: expected a number")),
    )
}

fn in_a_world(random: &mut Random, packets: usize, mut tally: Tally) -> Tally {
    let (world, image) = worlds::world(random);
    let kernel = Kernel::load(&image);
    let mut counters = Counters::zero(image.backends.len());
    let host = image.host(Fib::Unroutable);
    let mut history = History::default();
    let mut run = |frame: &[u8], history: &mut History| {
        let outcome = compare(&host, &kernel, frame);
        counters.add(&outcome);
        history.note(&outcome);
        tally.add(&outcome);
    };
    for _ in 0..packets {
        let frame = history.packet(random, &world);
        run(&frame, &mut history);
    }
    for _ in 0..TRUNCATED {
        let bytes = packets::sound(random, &world).bytes();
        for len in 14..bytes.len().min(300) {
            run(&bytes[..len], &mut history);
        }
    }
    let found = Counters::of(&kernel);
    let difference = counters.difference(&found);
    assert!(difference.is_empty(), "{difference}in {world:#?}");
    assert_eq!(kernel.flows(), host.flows(), "flows in {world:#?}");
    assert_eq!(kernel.paths(), host.paths(), "paths in {world:#?}");
    assert_eq!(kernel.tracked(), host.tracked(), "tracked in {world:#?}");
    assert_eq!(kernel.origins(), host.origins(), "origins in {world:#?}");
    assert_eq!(kernel.times(), host.times(), "times in {world:#?}");
    assert_eq!(kernel.events(), host.events(), "events in {world:#?}");
    assert_eq!(kernel.signals(), host.signals(), "signals in {world:#?}");
    for (event, count) in host.events() {
        *tally.tracked.entry(event.label()).or_default() += count;
    }
    tally.remembered += host.flows().len();
    tally.learned += host.paths().iter().filter(|path| path.mtu() != 0).count();
    tally
}

fn compare(host: &Host<'_>, kernel: &Kernel, frame: &[u8]) -> image::Outcome {
    let host = host.run(INGRESS, frame);
    let found = kernel.run(frame);
    assert!(
        found.action == kernel::action(host.verdict).0 && found.frame == host.frame,
        "the kernel's action {} against {:?} on {}: {}",
        found.action,
        host.verdict,
        hex(frame),
        difference(&found.frame, &host.frame)
    );
    host
}

impl Tally {
    fn add(&mut self, outcome: &image::Outcome) {
        self.all += 1;
        let label = match outcome.verdict {
            Verdict::Transmit | Verdict::Redirect(_) => return self.sent(outcome),
            Verdict::Answer(reason) => reason.label(),
            Verdict::Pass(reason) => reason.label(),
            Verdict::Drop(reason) => reason.label(),
        };
        *self.reasons.entry(label).or_default() += 1;
    }

    fn sent(&mut self, outcome: &image::Outcome) {
        let mut counted = outcome.counted.iter();
        if counted.any(|(_, traffic)| traffic.return_packets > 0) {
            self.returned += 1;
        } else {
            self.forwarded += 1;
        }
    }
}
