//! What the fuzz target is made of: `cargo xtask fuzz`.
//!
//! ```text
//! bytes ─ input ─► a scene, and frames that arrive ─ data path ─► outcomes ─ laws
//! ```
//!
//! * [`scene`]: worlds with services of every mode, made once.
//! * [`input`]: how bytes are read as frames, so that small changes of them are small changes of frames.
//! * [`oracle`]: what a frame says, read by code that knows nothing of the data path.
//! * [`laws`]: what holds of every frame that goes in, and of what comes out.
//! * [`seeds`]: inputs to begin with.
//!
//! The maps' contents, and frames in words, are those of the tests.
//!
//! A broken law panics, which is what libFuzzer looks for.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a panic is a finding"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths and places of small tables"
)]

pub mod input;
pub mod laws;
pub mod oracle;
pub mod scene;
pub mod seeds;

use lb_tests::image::{Host, Outcome};

use input::{Arrival, Input};
use laws::Witness;

/// The interface that most frames come in by.
pub const INGRESS: u32 = 1;
/// Another one, where backends may be.
pub const BACK: u32 = 2;
/// One where no backend is.
pub const FRONT: u32 = 3;

/// Plays an input: each frame meets the state that those before it left.
pub fn play(bytes: &[u8]) {
    let Some(input) = Input::read(bytes) else {
        return;
    };
    let witness = Witness::new(input.scene, input.fib);
    let host = run(&input, |host, _, ingress, frame, outcome| {
        witness.judge(ingress, frame, outcome);
        witness.ask_back(host, frame, outcome);
    });
    witness.judge_flows(&host.flows());
}

/// Tells what becomes of each frame of an input, for whoever looks at a finding.
#[must_use]
pub fn explain(bytes: &[u8]) -> String {
    let Some(input) = Input::read(bytes) else {
        return "no frame\n".to_owned();
    };
    let mut story = String::new();
    run(&input, |_, arrival, ingress, frame, outcome| {
        let packet = oracle::Packet::read(frame);
        let Outcome {
            verdict,
            frame: after,
            counted,
        } = outcome;
        let lines = [
            format!("{arrival:?}\nby interface {ingress}: {packet:?}"),
            format!("{frame:02x?}\n{verdict:?}, counted {counted:?}\n{after:02x?}\n\n"),
        ];
        story += &lines.join("\n");
    });
    story
}

/// Runs the frames of an input, and has each looked at.
fn run<'i>(
    input: &Input<'i>,
    mut look: impl FnMut(&Host<'_>, &Arrival<'i>, u32, &[u8], &Outcome),
) -> Host<'static> {
    let host = input.scene.image.host(input.fib);
    let mut sent: Option<Outcome> = None;
    for arrival in &input.arrivals {
        let frame = arrival.frame(input.scene, sent.as_ref());
        let later = host.now_ns.get() + arrival.pause_ns();
        host.now_ns.set(later);
        let outcome = host.run_in(input.room, arrival.ingress(), &frame);
        look(&host, arrival, arrival.ingress(), &frame, &outcome);
        if laws::is_sent(outcome.verdict) {
            sent = Some(outcome);
        }
    }
    host
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeSet};

    use super::*;

    /// Whatever becomes of packets in sound tables becomes of a seed, so that the fuzzer begins with all
    /// of it.
    #[test]
    fn seeds_break_no_law_and_end_in_every_way() {
        let seen = RefCell::new(BTreeSet::new());
        for (_name, bytes) in seeds::all() {
            play(&bytes);
            let input = Input::read(&bytes).unwrap();
            run(&input, |_, _, _, _, outcome| {
                seen.borrow_mut().insert(format!("{:?}", outcome.verdict));
            });
        }
        let seen = seen.into_inner();
        let all = laws::verdicts().map(|verdict| format!("{verdict:?}"));
        let missing: Vec<_> = all.filter(|verdict| !seen.contains(verdict)).collect();
        assert_eq!(missing, Vec::<String>::new(), "of {seen:#?}");
    }
}
