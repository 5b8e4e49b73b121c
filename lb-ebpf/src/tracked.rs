//! The map `TRACKED`, whose entries several CPUs may want at once, and `ORIGINS` beside it.

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use lb_common::{
    datapath::Entries,
    tracked::{Bucket, ENTRIES, Origin, Tracked},
};

#[map]
static TRACKED: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static ORIGINS: Array<Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// A bucket in the map, and its number.
pub struct InMap(*mut [u64; ENTRIES], u32);

/// The bucket of this number.
#[inline(always)]
pub fn bucket(number: u32) -> Option<InMap> {
    Some(InMap(TRACKED.get_ptr_mut(number)?.cast(), number))
}

impl InMap {
    #[inline(always)]
    const fn place(&self, index: usize) -> *mut u64 {
        let first: *mut u64 = self.0.cast();
        first.wrapping_add(index % ENTRIES)
    }
}

impl Entries for InMap {
    #[inline(always)]
    fn load(&self, index: usize) -> Tracked {
        // SAFETY: an entry of a bucket, which stays valid while the program runs; one aligned load.
        Tracked(unsafe { self.place(index).read_volatile() })
    }

    #[inline(always)]
    fn replace(&self, index: usize, before: Tracked, after: Tracked) -> bool {
        let place = self.place(index);
        // SAFETY: as above; the kernel has the instruction where this program is loaded.
        let (_, replaced) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                place, before.0, after.0,
            )
        };
        replaced
    }

    #[inline(always)]
    fn note_origin(&self, index: usize, origin: Origin) {
        let Some(bucket) = ORIGINS.get_ptr_mut(self.1) else {
            return;
        };
        let first: *mut u64 = bucket.cast();
        // SAFETY: an origin in a bucket, which stays valid while the program runs; one aligned store.
        unsafe {
            first.wrapping_add(index % ENTRIES).write_volatile(origin.0);
        }
    }
}
