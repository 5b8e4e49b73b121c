//! Cases that read as sentences: a frame, and what becomes of it in the kernel and in the host build.

use std::collections::BTreeMap;

use lb_common::{
    AnswerReason, DropReason, PassReason, Verdict,
    counters::{Signals, Traffic},
    datapath::{Direction, Fib},
};

use crate::{
    counters::Counters,
    frame::Frame,
    image::{self, Host, Image},
    kernel::{self, INGRESS, Kernel},
    sandbox, traced,
};
use lb_userspace::dataplane::Tracer;

/// Frames shorter than an Ethernet header, which a test run does not take.
const TOO_SHORT: usize = 14;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is claimed.
    pub sentence: String,
    /// The frame that comes in.
    pub frame: Vec<u8>,
    /// What becomes of it.
    pub expected: image::Outcome,
}

impl Case {
    /// The frame is sent by an interface, as `after`, and counted under a pair.
    #[must_use]
    pub fn sent(
        sentence: impl Into<String>,
        frame: &Frame,
        after: &Frame,
        ifindex: u32,
        counted: (u32, Direction),
    ) -> Self {
        let verdict = if ifindex == INGRESS {
            Verdict::Transmit
        } else {
            Verdict::Redirect(ifindex)
        };
        let mut case = Self::untouched(sentence, frame.bytes(), verdict).counted(counted);
        case.expected.frame = after.bytes();
        // VLAN tags are off while a packet is counted.
        let tags = 4 * frame.tags.len() as u64;
        for (_, traffic) in &mut case.expected.counted {
            traffic.bytes = traffic.bytes.saturating_sub(tags);
            traffic.return_bytes = traffic.return_bytes.saturating_sub(tags);
        }
        case
    }

    /// The frame comes back to its sender as `after`.
    #[must_use]
    pub fn answered(
        sentence: impl Into<String>,
        frame: &Frame,
        after: &Frame,
        reason: AnswerReason,
    ) -> Self {
        let mut case = Self::untouched(sentence, frame.bytes(), reason.into());
        case.expected.frame = after.bytes();
        case
    }

    /// The frame is left to the kernel as it is.
    #[must_use]
    pub fn passed(sentence: impl Into<String>, frame: Vec<u8>, reason: PassReason) -> Self {
        Self::untouched(sentence, frame, reason.into())
    }

    /// The frame is thrown away, and counted under no pair.
    #[must_use]
    pub fn dropped(sentence: impl Into<String>, frame: Vec<u8>, reason: DropReason) -> Self {
        Self::untouched(sentence, frame, reason.into())
    }

    /// The same, counted as one packet of the frame's length under a pair.
    #[must_use]
    pub fn counted(mut self, (pair, direction): (u32, Direction)) -> Self {
        let (packets, bytes) = (1, self.frame.len() as u64);
        let traffic = match direction {
            Direction::Forward => Traffic {
                packets,
                bytes,
                ..Traffic::default()
            },
            Direction::Return => Traffic {
                return_packets: packets,
                return_bytes: bytes,
                ..Traffic::default()
            },
        };
        self.expected.counted = vec![(pair, traffic)];
        self
    }

    fn untouched(sentence: impl Into<String>, frame: Vec<u8>, verdict: Verdict) -> Self {
        Self {
            sentence: sentence.into(),
            expected: image::Outcome {
                verdict,
                frame: frame.clone(),
                counted: Vec::new(),
            },
            frame,
        }
    }
}

/// Runs every case on both builds, which remember what came before.
///
/// # Panics
///
/// With the sentences that do not hold, if there are any.
pub fn check(image: &Image, fib: Fib, cases: &[Case]) {
    check_in_turn(fib, &[(image.clone(), cases.to_vec())]);
}

/// The same, and what the packets show of backends, by pair.
///
/// # Panics
///
/// As [`check`], and where they show something else.
pub fn check_signals(image: &Image, cases: &[Case], expected: &BTreeMap<u32, Signals>) {
    let shown = play(Fib::Unroutable, &[(image.clone(), cases.to_vec())]);
    assert_eq!(shown, *expected, "signals");
}

/// The same with maps that change in between: images of the same sizes and constants.
///
/// # Panics
///
/// As [`check`], and where the builds remember different things in the end.
pub fn check_in_turn(fib: Fib, acts: &[(Image, Vec<Case>)]) {
    drop(play(fib, acts));
}

/// Plays all acts; what the packets showed of backends, by pair.
fn play(fib: Fib, acts: &[(Image, Vec<Case>)]) -> BTreeMap<u32, Signals> {
    let Some((first, _)) = acts.first() else {
        return BTreeMap::new();
    };
    sandbox::stay_on_this_cpu();
    let mut kernel = Kernel::load(first);
    let mut tracer = traced::over(&kernel, first.constants);
    let mut host = first.host(fib);
    let mut wrong: Vec<String> = Vec::new();
    for (image, cases) in acts {
        kernel.fill(image);
        host = host.over(image);
        let outcomes = cases.iter().flat_map(|case| {
            [
                in_host(&host, case),
                explained(&mut tracer, &kernel, case),
                in_kernel(&kernel, case),
            ]
        });
        wrong.extend(outcomes.flatten());
    }
    let all: usize = acts.iter().map(|(_, cases)| cases.len()).sum();
    assert!(
        wrong.is_empty(),
        "{} of {all} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(kernel.flows(), host.flows(), "remembered flows");
    assert_eq!(kernel.paths(), host.paths(), "paths of tunnels");
    assert_eq!(kernel.tracked(), host.tracked(), "tracked flows");
    assert_eq!(kernel.origins(), host.origins(), "whose they are");
    assert_eq!(kernel.times(), host.times(), "times of rows");
    assert_eq!(kernel.events(), host.events(), "events");
    assert_eq!(kernel.signals(), host.signals(), "signals");
    host.signals()
}

fn in_host(host: &Host<'_>, case: &Case) -> Option<String> {
    let outcome = host.run(INGRESS, &case.frame);
    let Case {
        sentence, expected, ..
    } = case;
    (outcome != *expected).then(|| {
        format!(
            "host: {sentence}:\n  {:?}, {:?}, {}\n  expected {:?}, {:?}",
            outcome.verdict,
            outcome.counted,
            difference(&outcome.frame, &expected.frame),
            expected.verdict,
            expected.counted,
        )
    })
}

fn in_kernel(kernel: &Kernel, case: &Case) -> Option<String> {
    if case.frame.len() < TOO_SHORT {
        return None;
    }
    let Case {
        sentence, expected, ..
    } = case;
    let mut counters = Counters::of(kernel);
    counters.add(expected);
    let outcome = kernel.run(&case.frame);
    let action = kernel::action(expected.verdict).0;
    if outcome.action != action || outcome.frame != expected.frame {
        return Some(format!(
            "kernel: {sentence}:\n  action {}, expected {action}; {}",
            outcome.action,
            difference(&outcome.frame, &expected.frame)
        ));
    }
    let after = Counters::of(kernel);
    (after != counters).then(|| {
        let moved = counters.difference(&after);
        format!("kernel: {sentence}:\n  counters moved otherwise:\n{moved}")
    })
}

/// What explains packets says the same beforehand, and changes nothing.
fn explained(tracer: &mut Tracer, kernel: &Kernel, case: &Case) -> Option<String> {
    if case.frame.len() < TOO_SHORT {
        return None;
    }
    let Case {
        sentence, expected, ..
    } = case;
    let before = traced::everything(kernel);
    let traced = tracer.trace(INGRESS, &case.frame);
    let traced = traced.expect("a test run");
    let verdict = traced.verdict();
    let is_right = traced.action == kernel::action(expected.verdict).0
        && verdict == Some(expected.verdict)
        && traced.frame == expected.frame;
    if !is_right {
        return Some(format!(
            "explained: {sentence}:\n  {verdict:?}, expected {:?}; {}\n  {:?}",
            expected.verdict,
            difference(&traced.frame, &expected.frame),
            traced.events,
        ));
    }
    let after = traced::everything(kernel);
    (after != before).then(|| format!("explained: {sentence}: changed {before:?}\n  to {after:?}"))
}

/// Where two frames differ, in words.
#[must_use]
pub fn difference(found: &[u8], expected: &[u8]) -> String {
    if found == expected {
        return "the frame expected".to_owned();
    }
    let at = found.iter().zip(expected).take_while(|(a, b)| a == b);
    format!(
        "from byte {} on another frame:\n    {}\n  expected\n    {}",
        at.count(),
        hex(found),
        hex(expected)
    )
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
