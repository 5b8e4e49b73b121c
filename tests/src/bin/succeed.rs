//! Tells the emulator that runs this guest that its tests succeeded: QEMU's device isa-debug-exit, at I/O
//! port 0xf4, ends it with the exit code 2 × 16 + 1.
//!
//! The last thing that a guest of `cargo xtask test-kernels` does. The kernels have no `/dev/port`
//! (`CONFIG_DEVPORT`), so the processor's own instruction is used.

use std::{arch::asm, io};

/// Where `xtask` puts the device.
const PORT: u16 = 0xf4;

/// Not 0, which QEMU would make 1, the code of its own errors.
const SUCCESS: u8 = 16;

/// Does not return where the device is.
fn main() -> io::Result<()> {
    // SAFETY: plain numbers; the kernel checks them, and that this is root.
    let permitted = unsafe { libc::ioperm(PORT.into(), 1, 1) };
    if permitted != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel permitted this port to this thread; the instruction touches no memory.
    unsafe { asm!("out dx, al", in("dx") PORT, in("al") SUCCESS, options(nomem, nostack)) };
    Err(io::Error::other(
        "the guest goes on: there is no isa-debug-exit",
    ))
}
