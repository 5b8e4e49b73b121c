//! The kernel's memory: the only unsafe code of the data plane's user side.
//!
//! *Justification:* the maps are written while the data path reads them, by single aligned stores;
//! aya has neither memory-mapped arrays nor `membarrier(2)`.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use memmap2::{MmapOptions, MmapRaw};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Any padding-free plain value may cross into a BPF map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct MapValue<T>(pub T);

// SAFETY: `FromBytes` and `IntoBytes` prove that every bit pattern is valid and that there is no
// padding.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for MapValue<T> {}

/// A memory-mapped array. Mapped, it counts as this process's memory, all of it.
#[derive(Debug)]
pub struct Mapped {
    map: OwnedFd,
    bytes: usize,
    memory: OnceLock<MmapRaw>,
}

impl Mapped {
    /// Maps the first `bytes` of an array.
    ///
    /// # Errors
    /// Where the kernel refuses, as it does for maps without `BPF_F_MMAPABLE`.
    pub fn new(map: &impl AsFd, bytes: usize) -> io::Result<Self> {
        let map = map.as_fd().try_clone_to_owned()?;
        let memory = OnceLock::from(mapped(&map, bytes)?);
        Ok(Self { map, bytes, memory })
    }

    /// Until it is asked for again it takes no memory of this process.
    pub fn let_go(&mut self) {
        drop(self.memory.take());
    }

    /// `None` where the kernel refuses what it did before.
    fn memory(&self) -> Option<&MmapRaw> {
        if let Some(memory) = self.memory.get() {
            return Some(memory);
        }
        let memory = mapped(&self.map, self.bytes).ok()?;
        Some(self.memory.get_or_init(|| memory))
    }

    /// Offsets of its words.
    pub fn offsets(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.bytes).step_by(size_of::<u64>())
    }

    /// The word at an offset in bytes that is a multiple of 8; `None` outside of the map.
    #[must_use]
    pub fn load(&self, offset: usize) -> Option<u64> {
        let place = self.place::<u64>(offset)?;
        // SAFETY: `place` checked that the pointer is aligned and inside of the mapping, which lives
        // as long as `self`; others only ever access it atomically or in the kernel.
        let word = unsafe { AtomicU64::from_ptr(place) };
        Some(word.load(Ordering::Acquire))
    }

    /// Stores a word of 8 bytes; what was stored before is seen before it.
    #[must_use]
    pub fn store_u64(&mut self, offset: usize, value: u64) -> Option<()> {
        let place = self.place::<u64>(offset)?;
        // SAFETY: as in `load`.
        let word = unsafe { AtomicU64::from_ptr(place) };
        word.store(value, Ordering::Release);
        Some(())
    }

    /// The same with 4 bytes.
    #[must_use]
    pub fn store_u32(&mut self, offset: usize, value: u32) -> Option<()> {
        let place = self.place::<u32>(offset)?;
        // SAFETY: as in `load`.
        let word = unsafe { AtomicU32::from_ptr(place) };
        word.store(value, Ordering::Release);
        Some(())
    }

    /// Puts another word in the place of `before`, if that is still there.
    #[must_use]
    pub fn replace(&self, offset: usize, before: u64, after: u64) -> bool {
        let Some(place) = self.place::<u64>(offset) else {
            return false;
        };
        // SAFETY: as in `load`.
        let word = unsafe { AtomicU64::from_ptr(place) };
        word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Where a `T` stands: aligned, and inside as a whole.
    fn place<T>(&self, offset: usize) -> Option<*mut T> {
        let end = offset.checked_add(size_of::<T>())?;
        let inside = end <= self.bytes && offset.is_multiple_of(size_of::<T>());
        let memory = self.memory().filter(|_| inside)?;
        Some(memory.as_mut_ptr().wrapping_add(offset).cast())
    }
}

fn mapped(map: &OwnedFd, bytes: usize) -> io::Result<MmapRaw> {
    MmapOptions::new().len(bytes).map_raw(map.as_raw_fd())
}

/// Bytes of memory that can be had without swapping, as the kernel estimates (`MemAvailable` in
/// `proc_meminfo(5)`).
///
/// # Errors
/// Where it does not say.
pub fn available() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: Option<u64> = number.and_then(|number| number.trim().parse().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Waits until every packet is through that was in a BPF program when the call began: those run
/// inside of RCU's read side, and the command waits for `synchronize_rcu`.
///
/// # Errors
/// Where the kernel does not know the command, or has CPUs with `nohz_full`.
pub fn grace_period() -> io::Result<()> {
    // SAFETY: the call takes three numbers and touches no memory of ours.
    let result = unsafe {
        libc::syscall(
            libc::SYS_membarrier,
            libc::MEMBARRIER_CMD_GLOBAL,
            0u32,
            0i32,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
