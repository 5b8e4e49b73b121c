//! The eBPF objects, inside this binary.

/// The ELF file that `cargo xtask build-ebpf` made, aligned as its parser wants it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xlb.o"));

/// The same programs, as they explain packets ([`lb_common::trace`]).
pub static TRACE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/trace.o"));
