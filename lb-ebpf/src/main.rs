//! The XDP programs of xlb: frame and maps around the data path of `lb-common`.
//!
//! The only place that knows XDP's actions. Unsafe code is in [`frame`], [`maps`], [`tracked`], [`fib`] and
//! [`connections`];
//! [`decap`] is the program for backends, with maps of its own.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(
    internal_features,
    reason = "the target has no compare-and-swap of its own in `core::sync::atomic`"
)]
#![expect(
    missing_docs,
    clippy::needless_pass_by_value,
    reason = "the attribute `xdp` hands contexts over by value and drops the documentation"
)]

mod connections;
mod decap;
mod fib;
mod frame;
mod maps;
mod pass;
#[cfg(feature = "trace")]
mod traced;
mod tracked;

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect, macros::xdp, programs::XdpContext};
use aya_log_ebpf::error;
use lb_common::{
    DropReason,
    datapath::{self, Step, StepKind},
    verdict::{FIRST_ANSWER, FIRST_DROP},
};

#[cfg(feature = "trace")]
use crate::traced::Traced as View;
use crate::{frame::XdpFrame, maps::Maps};

/// What programs see of the maps.
#[cfg(not(feature = "trace"))]
type View<'a> = Maps<'a, false>;

/// Runs a program over the maps, and does what it came to. No function: the compiler would not have it inline.
macro_rules! run {
    ($ctx:ident, $program:path, $frame:ty) => {
        run!($ctx, $program, $frame, View)
    };
    ($ctx:ident, $program:path, $frame:ty, $maps:ty) => {
        match <$maps>::new(&$ctx) {
            Some(maps) => finish(&$ctx, $program(&mut <$frame>::new(&$ctx), &maps)),
            None => finish(&$ctx, DropReason::TableError.into()),
        }
    };
}

/// The data path. Attached to every configured interface.
#[xdp]
#[inline(always)]
pub fn xlb(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::common, XdpFrame::<true>)
}

/// The data path, for configurations that use nothing out of the ordinary.
#[xdp]
#[inline(always)]
pub fn xlb_plain(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::common, XdpFrame::<true>, Maps::<true>)
}

/// Frames with VLAN tags.
#[xdp]
#[inline(always)]
pub fn xlb_tagged(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::tagged, XdpFrame::<true>)
}

/// ICMP.
#[xdp]
#[inline(always)]
pub fn xlb_icmp(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::icmp, XdpFrame::<false>)
}

/// `ICMPv6`.
#[xdp]
#[inline(always)]
pub fn xlb_icmp6(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::icmp6, XdpFrame::<false>)
}

/// Fragments.
#[xdp]
#[inline(always)]
pub fn xlb_fragment(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::fragment, XdpFrame::<false>)
}

/// Flows to be remembered.
#[xdp]
#[inline(always)]
pub fn xlb_flow(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::flow, XdpFrame::<false>)
}

/// SYNs whose segment size is limited.
#[xdp]
#[inline(always)]
pub fn xlb_syn(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::syn, XdpFrame::<false>)
}

/// ICMP errors to be made.
#[xdp]
#[inline(always)]
pub fn xlb_answer(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::answer, XdpFrame::<false>)
}

/// Flows whose row moves.
#[xdp]
#[inline(always)]
pub fn xlb_moving(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::moving, XdpFrame::<false>)
}

/// Connections whose backend died.
#[xdp]
#[inline(always)]
pub fn xlb_reset(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::reset, XdpFrame::<false>)
}

/// Packets that no backend takes.
#[xdp]
#[inline(always)]
pub fn xlb_refuse(ctx: XdpContext) -> u32 {
    run!(ctx, datapath::refuse, XdpFrame::<false>)
}

/// Does what a program came to, and counts its reason.
#[inline(always)]
fn finish(ctx: &XdpContext, step: Step) -> u32 {
    const TABLE_ERROR: u32 = DropReason::TableError.index();
    #[cfg(feature = "trace")]
    traced::note(step);
    let reason = match step.kind() {
        StepKind::Transmit => return xdp_action::XDP_TX,
        StepKind::Redirect(ifindex) => return redirect(ifindex),
        StepKind::Detour(program) => {
            maps::detour(ctx, program);
            TABLE_ERROR
        }
        StepKind::Reason(reason) => reason,
    };
    maps::count_reason(reason);
    if reason < FIRST_ANSWER {
        return xdp_action::XDP_PASS;
    }
    if reason < FIRST_DROP {
        return xdp_action::XDP_TX;
    }
    if reason == TABLE_ERROR {
        error!(
            ctx,
            "a table points outside of another one: please report this"
        );
    }
    xdp_action::XDP_DROP
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the helper's long is one of XDP's actions"
)]
fn redirect(ifindex: u32) -> u32 {
    // SAFETY: the helper takes plain numbers; the kernel checks the interface when it sends.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

/// A reachable panic is an endless loop, which the verifier refuses: panics show at load time.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
