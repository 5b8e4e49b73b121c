//! The kernel's TCP connections.

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock,
    helpers::{bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie},
    programs::XdpContext,
};
use lb_common::wire::{Ip, transport::Tcp};
use zerocopy::IntoBytes as _;

/// `struct bpf_sock_tuple`, of addresses of so many bytes. Aligned, as the verifier refuses misaligned stores to the stack.
#[repr(C, align(4))]
struct Tuple<const LEN: usize> {
    source: [u8; LEN],
    destination: [u8; LEN],
    ports: [u8; 4],
}

/// `BPF_F_CURRENT_NETNS`, in the 64 bits that the helper takes: the interface's.
const HERE: u64 = u64::MAX;
/// `TCP_LISTEN` of the kernel's `include/net/tcp_states.h`.
const LISTEN: u32 = 10;

/// Whether this host has the connection of a packet that opens none; a host that listens has it where the packet
/// answers a cookie.
#[inline(always)]
pub fn knows<I: Ip>(ctx: &XdpContext, ip: &I, tcp: &Tcp) -> bool {
    let socket = if I::V6 {
        lookup::<16, I>(ctx, ip, tcp)
    } else {
        lookup::<4, I>(ctx, ip, tcp)
    };
    // SAFETY: the helper gives a socket, which is held until it is released, or null.
    let Some(held) = (unsafe { socket.as_ref() }) else {
        return false;
    };
    let knows = held.state != LISTEN || answers_cookie(socket, ip, tcp);
    // SAFETY: it was looked up above, and is not used behind this.
    unsafe { bpf_sk_release(socket.cast()) };
    knows
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is 12 or 36")]
fn lookup<const LEN: usize, I: Ip>(ctx: &XdpContext, ip: &I, tcp: &Tcp) -> *mut bpf_sock {
    let mut tuple = Tuple {
        source: [0; LEN],
        destination: [0; LEN],
        ports: tcp.ports.bytes(),
    };
    let _written = ip.source().write_to(&mut tuple.source);
    let _written = ip.destination().write_to(&mut tuple.destination);
    let len = size_of::<Tuple<LEN>>() as u32;
    // SAFETY: the verifier checks that `ctx` is the program's and that the bytes lie at `tuple`.
    unsafe { bpf_skc_lookup_tcp(ctx.as_ptr(), (&raw mut tuple).cast(), len, HERE, 0) }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "lengths of headers")]
fn answers_cookie<I: Ip>(socket: *mut bpf_sock, ip: &I, tcp: &Tcp) -> bool {
    let (ip, tcp) = ((&raw const *ip).cast_mut(), (&raw const *tcp).cast_mut());
    let (ip_len, tcp_len) = (size_of::<I>() as u32, size_of::<Tcp>() as u32);
    // SAFETY: the socket is held, the headers lie in the frame; the helper only reads them.
    let answer =
        unsafe { bpf_tcp_check_syncookie(socket.cast(), ip.cast(), ip_len, tcp.cast(), tcp_len) };
    answer == 0
}
