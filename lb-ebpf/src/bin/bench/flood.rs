//! SYNs of random clients, for live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`): the kernel sends each out of the
//! interface that it says it came in by. A frame is used again as whoever got it left it, so that all of it is
//! written anew.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::xdp_action,
    helpers::bpf_ktime_get_ns,
    macros::{map, xdp},
    maps::Array,
    programs::XdpContext,
};
use lb_common::{
    checksum::{Delta, fold},
    hash,
};

/// What the flood is made of: see `Flood` of the tests.
#[repr(C)]
pub struct Flood {
    /// An IPv4 TCP SYN without options, whose source address, source port and sequence number are 0.
    template: [u64; WORDS],
    /// Frames that were made.
    made: u64,
    /// Nanoseconds from one frame to the next; 0: as fast as they are made.
    interval: u64,
    /// When the next one is due.
    due: u64,
}

const WORDS: usize = 8;
/// Where in the frame what stands.
const IP_CHECKSUM: usize = 24;
const SOURCE: usize = 26;
const PORT: usize = 34;
const SEQUENCE: usize = 38;
const TCP_CHECKSUM: usize = 50;
/// Sources are of 10.128.0.0/9: nobody else's.
const NETWORK: u32 = u32::from_le_bytes([10, 128, 0, 0]);
const HOSTS: u32 = u32::from_le_bytes([0, 0x7f, 0xff, 0xff]);

#[map]
static FLOOD: Array<Flood> = Array::with_max_entries(1, 0);

/// Makes the frame a SYN of another client, and sends it once it is due.
#[xdp]
pub fn flood(ctx: XdpContext) -> u32 {
    match is_due() {
        Some(true) => make(&ctx).map_or(xdp_action::XDP_ABORTED, |()| xdp_action::XDP_TX),
        Some(false) => xdp_action::XDP_DROP,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Whether it is time for another frame, which makes the next one due later. What is overdue is not made up for.
#[inline(always)]
fn is_due() -> Option<bool> {
    let flood = FLOOD.get_ptr_mut(0)?;
    // SAFETY: an element of a map; nobody writes its interval while frames are made.
    let interval = unsafe { (*flood).interval };
    if interval == 0 {
        return Some(true);
    }
    // SAFETY: an element of a map; frames are made by one thread.
    let due = unsafe { &mut (*flood).due };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let is_due = now >= *due;
    if is_due {
        *due = now + interval;
    }
    Some(is_due)
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "some bits of a mixed number"
)]
fn make(ctx: &XdpContext) -> Option<()> {
    let flood = FLOOD.get_ptr_mut(0)?;
    let data = ctx.data();
    if data + 8 * WORDS > ctx.data_end() {
        return None;
    }
    // SAFETY: a field of a map's element.
    let made = unsafe { &raw mut (*flood).made };
    // SAFETY: aligned, and in the map.
    let number = unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(made, 1) };
    // SAFETY: an element of a map; nobody writes its template while frames are made.
    let template = unsafe { &(*flood).template };
    for (word, value) in template.iter().enumerate() {
        write(data + 8 * word, *value);
    }
    let mixed = hash::mix(hash::mix(number));
    let source = NETWORK | (mixed as u32 & HOSTS);
    let (port, sequence) = ((mixed >> 32) as u16, (mixed >> 24) as u32);
    let address = half_sum(source);
    let rest = u32::from(port) + u32::from(half_sum(sequence));
    write(data + SOURCE, source);
    write(data + PORT, port);
    write(data + SEQUENCE, sequence);
    update(data + IP_CHECKSUM, address);
    update(data + TCP_CHECKSUM, fold(u32::from(address) + rest));
    Some(())
}

/// The sum of a field's two 16-bit words.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "half of it")]
const fn half_sum(field: u32) -> u16 {
    fold((field as u16 as u32) + (field >> 16))
}

/// Adds to the sum under a checksum.
#[inline(always)]
fn update(place: usize, sum: u16) {
    // SAFETY: within the frame by the check in `make`.
    let old = unsafe { (place as *const u16).read_unaligned() };
    write(place, Delta(sum).update(old));
}

#[inline(always)]
fn write<T>(place: usize, value: T) {
    // SAFETY: within the frame by the check in `make`.
    unsafe { (place as *mut T).write_unaligned(value) };
}
