//! The kernel's forwarding table, asked through `bpf_fib_lookup`.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS},
    helpers::bpf_fib_lookup,
};
use lb_common::{
    datapath::Fib,
    next_hop::Link,
    wire::{Ip, IpAddress},
};
use zerocopy::{FromZeros, IntoBytes};

/// `struct bpf_fib_lookup` of the kernel's `include/uapi/linux/bpf.h`, without its unions. Aligned so
/// that the compiler may fill it by eight bytes: the verifier refuses misaligned stores to the stack.
#[derive(FromZeros, IntoBytes)]
#[repr(C, align(8))]
struct Params {
    family: u8,
    protocol: u8,
    ports: [u16; 2],
    /// 0: the kernel does not compare the length with the route's MTU.
    total_len: u16,
    /// In: where the packet came in. Out: where it leaves.
    ifindex: u32,
    tos_or_flow: u32,
    source: [u8; 16],
    destination: [u8; 16],
    vlan: u32,
    /// The first four bytes of our MAC address.
    source_mac: u32,
    /// The other two, and the neighbour's MAC address.
    macs: u64,
}

impl Params {
    /// The MAC addresses of the answer, by loads that stay aligned: the verifier insists on that on
    /// the stack, the compiler does not know.
    #[inline(always)]
    fn link(&self) -> Link {
        // SAFETY: a field of a valid reference.
        let source = unsafe { ptr::read_volatile(&raw const self.source_mac) };
        // SAFETY: a field of a valid reference.
        let rest = unsafe { ptr::read_volatile(&raw const self.macs) };
        Link {
            to: rest >> 16,
            from: u64::from(source) | (rest & 0xffff) << 32,
        }
    }
}

const _: () = assert!(size_of::<Params>() == 64);

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "it is 64"
)]
const PARAMS_LEN: i32 = size_of::<Params>() as i32;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Asks how a packet that came in by `ingress` would be forwarded.
#[inline(always)]
pub fn lookup<I: Ip>(
    ctx: *mut c_void,
    ingress: u32,
    source: I::Address,
    destination: I::Address,
) -> Fib {
    let mut params = Params::new_zeroed();
    params.family = if I::Address::V6 { AF_INET6 } else { AF_INET };
    params.ifindex = ingress;
    let written = source.write_to_prefix(&mut params.source).is_ok()
        && destination.write_to_prefix(&mut params.destination).is_ok();
    if !written {
        return Fib::Unroutable;
    }
    // SAFETY: the verifier checks that `ctx` is the program's and that the bytes lie at `params`.
    let answer = unsafe { bpf_fib_lookup(ctx, (&raw mut params).cast(), PARAMS_LEN, 0) };
    match u32::try_from(answer) {
        Ok(BPF_FIB_LKUP_RET_SUCCESS) => Fib::Resolved {
            link: params.link(),
            ifindex: params.ifindex,
        },
        Ok(BPF_FIB_LKUP_RET_NO_NEIGH) => Fib::Unresolved,
        _ => Fib::Unroutable,
    }
}
