//! A program that leaves every packet to the kernel.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// For the far end of a veth pair: the kernel delivers frames that XDP sent only to a peer that runs
/// an XDP program itself.
#[xdp]
pub fn xdp_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}
