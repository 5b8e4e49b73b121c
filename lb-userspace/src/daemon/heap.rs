//! Gives memory back that a moment of much work took.
//!
//! *Justification of its unsafe block:* glibc keeps what is freed below what is in use. Loading the
//! program and large scrapes take several times of what the daemon needs the rest of its life, and
//! the standard library has no word for `malloc_trim(3)`.

/// Gives unused heap back to the kernel.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number; glibc guards its heaps with their own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
