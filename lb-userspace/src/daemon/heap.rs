//! When memory goes back to the kernel: after a moment of much work, and only then.
//!
//! *Justification of its unsafe blocks:* glibc keeps what is freed below what is in use. Loading the
//! program and large scrapes take several times of what the daemon needs the rest of its life, and
//! the standard library has no word for `malloc_trim(3)`. And it gives back at once what is large: with every death
//! of a backend a table is copied, whose pages would be taken anew, which is a quarter of what that takes; nor is
//! there a word for `mallopt(3)`.

/// The largest block that is kept when it is free, and the most that is kept of free blocks at the end: copies of a table
/// of 2^20 slots.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: libc::c_int = 8 << 20;

/// Keeps free blocks until [`trim`].
pub(crate) fn keep() {
    #[cfg(target_env = "gnu")]
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: the call takes two numbers; no other thread allocates yet that could see it half done.
        unsafe {
            libc::mallopt(parameter, KEPT_BYTES);
        }
    }
}

/// Gives unused heap back to the kernel.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number; glibc guards its heaps with their own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
