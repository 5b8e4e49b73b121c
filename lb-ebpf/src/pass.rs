//! A program that passes everything.
//!
//! A veth end takes frames that its peer transmits from XDP only where a program is attached to it.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// Leaves every packet to the kernel.
#[xdp]
pub fn xdp_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}
