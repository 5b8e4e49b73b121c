//! Programs of bench and tests: a front that puts the packet back before each run, and an empty program
//! to subtract; and a [`flood`].
//!
//! `BPF_PROG_TEST_RUN` with `repeat` does not restore the packet: a program that rewrites would see
//! its own output from the second run on, and measure the wrong path.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "the target has no stable atomics that add"
)]
#![expect(
    missing_docs,
    clippy::needless_pass_by_value,
    reason = "the attribute `xdp` hands contexts over by value and drops the documentation"
)]

mod flood;

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::xdp_action,
    helpers::bpf_xdp_adjust_head,
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};

/// What the front writes: see `Front` of the bench.
#[repr(C)]
pub struct Front {
    template: [u64; 10],
    /// Flows less one: a power of two less one.
    flow_mask: u64,
    /// Where in the frame the client's address (its last four bytes) and port are.
    address_at: u32,
    port_at: u32,
    /// Length of the frame: what a run pushed in front of it is taken away again.
    len: u64,
    runs: u64,
}

#[map]
static FRONT: Array<Front> = Array::with_max_entries(1, 0);
#[map]
static NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Restores 64 bytes, then runs the program under test.
#[xdp]
pub fn front_64(ctx: XdpContext) -> u32 {
    front::<8>(&ctx)
}

/// Restores 80 bytes, then runs the program under test.
#[xdp]
pub fn front_80(ctx: XdpContext) -> u32 {
    front::<10>(&ctx)
}

/// What is subtracted.
#[xdp]
pub fn empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// What is subtracted from a tunnel, which the front takes apart again: it makes room for an outer IPv4
/// header, and does no more.
#[xdp]
pub fn push(ctx: XdpContext) -> u32 {
    const IPV4: i32 = 20;
    // SAFETY: the context is the program's; no pointer into the packet is held.
    unsafe { bpf_xdp_adjust_head(ctx.ctx, -IPV4) };
    xdp_action::XDP_TX
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "some bits of a mixed number; lengths of frames"
)]
#[expect(
    clippy::indexing_slicing,
    reason = "the lengths are constants: a wrong one does not pass the verifier"
)]
fn front<const WORDS: usize>(ctx: &XdpContext) -> u32 {
    let Some(front) = FRONT.get_ptr_mut(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: an element of a map; test runs are one at a time.
    let front = unsafe { &mut *front };
    let pushed = (ctx.data_end() - ctx.data()) as i32 - front.len as i32;
    if pushed > 0 {
        // SAFETY: the context is the program's; no pointer into the packet is held.
        unsafe { bpf_xdp_adjust_head(ctx.ctx, pushed) };
    }
    let data = ctx.data();
    if data + 8 * WORDS > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    for word in 0..WORDS {
        // SAFETY: within the frame by the check above.
        unsafe { ((data + 8 * word) as *mut u64).write_unaligned(front.template[word]) };
    }
    let flow = (front.runs & front.flow_mask).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let flow = (flow ^ flow >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let (address, port) = (
        data + (front.address_at & 63) as usize,
        data + (front.port_at & 63) as usize,
    );
    if address + 4 > ctx.data_end() || port + 2 > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    if front.flow_mask != 0 {
        // 64.0.0.0/8: nobody in it is a martian.
        let client = (flow >> 24) as u32 & !0xff | 0x40;
        // SAFETY: within the frame by the check above.
        unsafe { (address as *mut u32).write_unaligned(client) };
        // SAFETY: within the frame by the check above.
        unsafe { (port as *mut u16).write_unaligned((flow >> 8) as u16) };
    }
    // A locked instruction drains the store buffer: otherwise loads that straddle two of the stores
    // above stall, which no NIC causes.
    // SAFETY: an aligned field of a map's element.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(&raw mut front.runs, 1) };
    // SAFETY: the helper checks the index; where it fails it comes back.
    unsafe { NEXT.tail_call(ctx, 0) };
    xdp_action::XDP_ABORTED
}

/// A reachable panic is an endless loop, which the verifier refuses.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
