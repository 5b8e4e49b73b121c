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

use lb_common::{DropReason, PassReason, Verdict, datapath::Fib};
use lb_tests::{
    counters::Counters,
    fixture::{difference, hex},
    image::{self, Image},
    kernel::{self, INGRESS, Kernel},
    random::Random,
    sandbox,
    world::World,
};

/// Worlds, each with a program of its own.
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
    /// Left to the kernel or dropped, by the reason's label.
    reasons: BTreeMap<&'static str, usize>,
}

#[test]
fn kernel_and_host_agree_on_random_packets_in_random_worlds() {
    let now = SystemTime::now();
    let seed = number("XLB_SEED").unwrap_or_else(|| new_seed(now));
    let packets = number("XLB_PACKETS").map_or(PACKETS, |packets| packets as usize);
    println!("XLB_SEED={seed} XLB_PACKETS={packets}");
    let tally = sandbox::run(move || {
        let mut random = Random::new(seed);
        (0..WORLDS).fold(Tally::default(), |tally, _| {
            in_a_world(&mut random, packets.div_ceil(WORLDS), tally)
        })
    });
    let took = now.elapsed().expect("a clock");
    let rate = tally.all as u128 / took.as_millis().max(1);
    println!("{tally:#?} in {took:.1?}: {rate} packets/ms");
    assert!(tally.forwarded * 5 > packets, "few go the whole way");
    assert!(tally.returned * 10 > packets, "few come back");
    for label in labels() {
        assert!(tally.reasons.contains_key(label), "{label}: never seen");
    }
}

/// Of every reason, but those that take a kernel that forwards, which the fixtures have, or a frame
/// without room before it, which the kernel's test runner has not.
fn labels() -> impl Iterator<Item = &'static str> {
    let passed = PassReason::ALL.iter().map(|reason| reason.label());
    let dropped = DropReason::ALL.iter().map(|reason| reason.label());
    let never = [
        PassReason::ClientUnresolved.label(),
        DropReason::NoHeadroom.label(),
    ];
    passed
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
    for frame in frames(random, &world, packets) {
        let outcome = compare(&image, &kernel, &frame);
        counters.add(&outcome);
        tally.add(&outcome);
    }
    assert_eq!(
        Counters::of(&kernel),
        counters,
        "the counters of {world:#?}"
    );
    tally
}

fn frames(random: &mut Random, world: &World, packets: usize) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = (0..packets)
        .map(|_| packets::packet(random, world))
        .collect();
    for _ in 0..TRUNCATED {
        let bytes = packets::sound(random, world).bytes();
        frames.extend((14..bytes.len()).map(|len| bytes[..len].to_vec()));
    }
    frames
}

fn compare(image: &Image, kernel: &Kernel, frame: &[u8]) -> image::Outcome {
    let host = image.run_with(Fib::Unroutable, INGRESS, frame);
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
            Verdict::Transmit | Verdict::Answer(_) | Verdict::Redirect(_) => return self.sent(outcome),
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
