//! The XDP program of xlb.
#![no_std]
#![no_main]

mod pass;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
