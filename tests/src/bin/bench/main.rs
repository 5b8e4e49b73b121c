//! `cargo xtask bench`: what things cost. It asserts bytes and verdicts, never times.
//!
//! * [`packets`]: nanoseconds and instructions that a packet costs in the data path.
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench panics, so that the place is known"
)]

mod edge;
mod front;
mod packets;
mod program;

fn main() {
    packets::print();
    program::print();
}
