//! Frames, one after the other, through the host build of the data path in one of several worlds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xlb_fuzz::play;

fuzz_target!(|bytes: &[u8]| play(bytes));
