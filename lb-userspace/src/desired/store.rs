//! Where stores into the maps go: the kernel's memory, or the host's in tests.
//!
//! A store is one aligned word of 4 or 8 bytes, so that the data path, which reads at the same time,
//! sees the old or the new value and nothing between.

use std::io;

use lb_common::{
    backend::Backend,
    counters::Signals,
    directory::Set,
    interface::Interface,
    maps::{self, Control},
    path::Path,
    pool::Pool,
    range::Ranges,
    route::Route,
    row::ROWS_PER_ELEMENT,
    tracked::Bucket,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A memory-mapped map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// Control words.
    Control,
    /// Services, NAT backends and addresses.
    Directory,
    /// Slot tables.
    Slots,
    /// Times of their rows.
    Times,
    /// Flows of moving rows.
    Tracked,
    /// Whose these are.
    Origins,
    /// Backends of services.
    Backends,
    /// Routes to clients.
    Routes,
    /// Interfaces the program is attached to.
    Interfaces,
    /// Services and NAT backends on several ports.
    Ranges,
    /// Source addresses and ports of full NAT.
    Pools,
    /// Path MTUs of tunnels.
    Paths,
    /// What packets show of backends.
    Signals,
}

impl Region {
    /// Every region.
    pub const ALL: [Self; 13] = [
        Self::Control,
        Self::Directory,
        Self::Slots,
        Self::Times,
        Self::Tracked,
        Self::Origins,
        Self::Backends,
        Self::Routes,
        Self::Interfaces,
        Self::Ranges,
        Self::Pools,
        Self::Paths,
        Self::Signals,
    ];

    /// The map's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => maps::CONTROL,
            Self::Directory => maps::DIRECTORY,
            Self::Slots => maps::SLOTS,
            Self::Times => maps::TIMES,
            Self::Tracked => maps::TRACKED,
            Self::Origins => maps::ORIGINS,
            Self::Backends => maps::BACKENDS,
            Self::Routes => maps::ROUTES,
            Self::Interfaces => maps::INTERFACES,
            Self::Ranges => maps::RANGES,
            Self::Pools => maps::POOLS,
            Self::Paths => maps::PATHS,
            Self::Signals => maps::SIGNALS,
        }
    }

    /// Bytes of one element; a multiple of 8.
    #[must_use]
    pub const fn element_bytes(self) -> usize {
        match self {
            Self::Control => size_of::<Control>(),
            Self::Directory => size_of::<Set>(),
            Self::Slots | Self::Times => ROWS_PER_ELEMENT as usize * size_of::<u32>(),
            Self::Tracked | Self::Origins => size_of::<Bucket>(),
            Self::Backends => size_of::<Backend>(),
            Self::Routes => size_of::<Route>(),
            Self::Interfaces => size_of::<Interface>(),
            Self::Ranges => size_of::<Ranges>(),
            Self::Pools => size_of::<Pool>(),
            Self::Paths => size_of::<Path>(),
            Self::Signals => size_of::<Signals>(),
        }
    }

    /// Where element `index` begins, in bytes.
    #[must_use]
    pub const fn offset(self, index: u32) -> usize {
        index as usize * self.element_bytes()
    }
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A fault of the planner.
    #[error(
        "a store at byte {offset} of the map {map} is outside of it or not aligned; please report this"
    )]
    Outside {
        /// The map.
        map: &'static str,
        /// Where.
        offset: usize,
    },
    /// The kernel refused.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// Tables that the data path reads.
pub trait Store {
    /// The word at an offset in bytes that is a multiple of 8; `None` outside of the map.
    fn load(&self, region: Region, offset: usize) -> Option<u64>;

    /// Stores a word of 8 bytes; what was stored before is seen before it.
    ///
    /// # Errors
    /// Where the offset is outside of the map or no multiple of 8.
    fn store_u64(&mut self, region: Region, offset: usize, word: u64) -> Result<(), StoreError>;

    /// The same with 4 bytes.
    ///
    /// # Errors
    /// Where the offset is outside of the map or no multiple of 4.
    fn store_u32(&mut self, region: Region, offset: usize, word: u32) -> Result<(), StoreError>;

    /// Puts another word of 8 bytes in the place of `before`, if that is still there.
    fn replace(&mut self, region: Region, offset: usize, before: u64, after: u64) -> bool;

    /// Visits the first `words` words of 8 bytes that are not zero, each with its number.
    fn each_word(&self, region: Region, words: usize, visit: &mut dyn FnMut(usize, u64)) {
        for index in 0..words {
            match self.load(region, index * size_of::<u64>()) {
                Some(word) if word != 0 => visit(index, word),
                _ => {}
            }
        }
    }

    /// Waits until no packet is under way that was received before the call.
    ///
    /// # Errors
    /// Where the kernel cannot tell.
    fn grace_period(&mut self) -> Result<(), StoreError>;

    /// Sets a pair's traffic to that of another pair, or to zero. Nothing names the pair yet.
    ///
    /// # Errors
    /// Where the counters cannot be written.
    fn reset_traffic(&mut self, pair: u32, inherit: Option<u32>) -> Result<(), StoreError>;

    /// A copy of element `index`, or of its first bytes.
    fn read<T: FromBytes + IntoBytes>(&self, region: Region, index: u32) -> Option<T>
    where
        Self: Sized,
    {
        let mut value = T::new_zeroed();
        let begin = region.offset(index);
        for (i, chunk) in value.as_mut_bytes().chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&self.load(region, begin + i * 8)?.to_ne_bytes());
        }
        Some(value)
    }

    /// Writes element `index` word by word, the word with byte `last` at the end. Nothing names the
    /// element yet, or what names it is that last word.
    ///
    /// # Errors
    /// Where the index is outside of the map.
    fn write<T: IntoBytes + Immutable>(
        &mut self,
        region: Region,
        index: u32,
        value: &T,
        last: usize,
    ) -> Result<(), StoreError>
    where
        Self: Sized,
    {
        write_bytes(self, region, region.offset(index), value.as_bytes(), last)
    }
}

/// Writes bytes, a multiple of 8, word by word, the word with byte `last` at the end.
pub(super) fn write_bytes<S: Store>(
    store: &mut S,
    region: Region,
    begin: usize,
    bytes: &[u8],
    last: usize,
) -> Result<(), StoreError> {
    let words = || {
        bytes.chunks_exact(8).enumerate().map(|(i, chunk)| {
            let word = chunk.try_into().map_or(0, u64::from_ne_bytes);
            (i * 8, word)
        })
    };
    let at_end = last / 8 * 8;
    for (offset, word) in words().filter(|(offset, _)| *offset != at_end) {
        store.store_u64(region, begin + offset, word)?;
    }
    for (offset, word) in words().filter(|(offset, _)| *offset == at_end) {
        store.store_u64(region, begin + offset, word)?;
    }
    Ok(())
}
