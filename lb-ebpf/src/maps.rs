//! The maps, and the data path's view of them.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};
use lb_common::{
    backend::Backend,
    counters::Traffic,
    datapath::{Direction, Fib, Tables},
    directory::{Filter, Key, Seed, Set, WAYS, Way},
    interface::Interface,
    maps::{Constants, Control, Meta},
    route::{self, Routes},
    row::{ROWS_PER_ELEMENT, Row},
    verdict,
    wire::Ip,
};

/// Sizes of 1 are placeholders: the loader sets them from the configuration.
#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static DIRECTORY: Array<Set> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SLOTS: Array<[u32; ROWS_PER_ELEMENT as usize]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static BACKENDS: Array<Backend> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ROUTES: Array<Routes> = Array::with_max_entries(4, BPF_F_MMAPABLE);
#[map]
static INTERFACES: Array<Interface> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static STATS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1, 0);
#[map]
static REASONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(verdict::REASONS, 0);
#[map]
static META: Array<Meta> = Array::with_max_entries(1, 0);

/// Set before the program is loaded; the verifier then removes what they switch off.
#[unsafe(no_mangle)]
static CONSTANTS: Constants = Constants {
    hash_key: [0; 2],
    set_shift: 63,
    ipv6: 1,
    ipv4: 1,
    fib: 1,
    modes: 1,
    features: 0,
    icmp_rate: 0,
    reserved: 0,
};

/// Reads a field of [`CONSTANTS`].
macro_rules! constant {
    ($($field:tt)+) => {
        // SAFETY: a static is always readable; volatile, as the loader writes it after compilation.
        unsafe { ptr::read_volatile(&raw const CONSTANTS.$($field)+) }
    };
}

/// The maps, as one packet sees them.
pub struct Maps<'a> {
    ctx: &'a XdpContext,
    ingress: u32,
    interface: Interface,
    control: Control,
}

impl<'a> Maps<'a> {
    /// For the packet of `ctx`.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel's index of an interface has 32 bits, which the context widens"
    )]
    pub fn new(ctx: &'a XdpContext) -> Self {
        let ingress = ctx.ingress_ifindex() as u32;
        let interface = INTERFACES.get(ingress).copied().unwrap_or_default();
        // Read once: a packet sees one state of the tables.
        let control = CONTROL.get(0).copied().unwrap_or_default();
        Self {
            ctx,
            ingress,
            interface,
            control,
        }
    }
}

/// Counts a packet under a reason's number.
#[inline(always)]
pub fn count_reason(reason: u32) {
    if let Some(counter) = REASONS.get_ptr_mut(reason) {
        // SAFETY: an element of a per-CPU map, which only this CPU's program writes.
        unsafe { *counter += 1 };
    }
}

impl Tables for Maps<'_> {
    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.ingress
    }

    #[inline(always)]
    fn interface(&self) -> Interface {
        self.interface
    }

    #[inline(always)]
    fn serves(&self, v6: bool) -> bool {
        if v6 {
            constant!(ipv6) != 0
        } else {
            constant!(ipv4) != 0
        }
    }

    #[inline(always)]
    fn modes(&self) -> u32 {
        constant!(modes)
    }

    #[inline(always)]
    fn hash_key(&self) -> [u64; 2] {
        [constant!(hash_key[0]), constant!(hash_key[1])]
    }

    #[inline(always)]
    fn addresses(&self) -> Filter {
        Filter(self.control.addresses)
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::indexing_slicing,
        reason = "ways are numbered in 32 bits; a remainder by the length is below it"
    )]
    fn front(&self) -> Option<&Way> {
        let front = self.control.front as u32;
        let set = DIRECTORY.get(front / WAYS as u32)?;
        Some(&set.ways[front as usize % WAYS])
    }

    #[inline(always)]
    fn find(&self, key: &Key, v6: bool) -> Option<u64> {
        let seed = Seed(self.control.directory);
        DIRECTORY
            .get(seed.set(key.tag, constant!(set_shift)))?
            .find(key, v6)
    }

    #[inline(always)]
    #[expect(
        clippy::indexing_slicing,
        reason = "a remainder by the length is below it"
    )]
    fn row(&self, element: u32, index: u32) -> Option<Row> {
        let rows = SLOTS.get(element + index / ROWS_PER_ELEMENT)?;
        Some(Row(rows[(index % ROWS_PER_ELEMENT) as usize]))
    }

    #[inline(always)]
    fn backend(&self, pair: u32) -> Option<&Backend> {
        BACKENDS.get(pair)
    }

    #[inline(always)]
    fn mac(&self, ifindex: u32) -> u64 {
        INTERFACES.get(ifindex).copied().unwrap_or_default().mac()
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lowest bit is what is asked for"
    )]
    fn routes(&self, v6: bool) -> Option<&Routes> {
        ROUTES.get(route::list(self.control.routes as u32 & 1, v6))
    }

    #[inline(always)]
    fn fib<I: Ip>(&self, source: I::Address, destination: I::Address) -> Fib {
        if constant!(fib) == 0 {
            return Fib::Unroutable;
        }
        crate::fib::lookup::<I>(self.ctx.as_ptr(), self.ingress, source, destination)
    }

    #[inline(always)]
    fn count(&self, pair: u32, direction: Direction, bytes: usize) {
        let Some(traffic) = STATS.get_ptr_mut(pair) else {
            return;
        };
        // SAFETY: an element of a per-CPU map, which only this CPU's program writes.
        let traffic = unsafe { &mut *traffic };
        match direction {
            Direction::Forward => {
                traffic.packets += 1;
                traffic.bytes += bytes as u64;
            }
            Direction::Return => {
                traffic.return_packets += 1;
                traffic.return_bytes += bytes as u64;
            }
        }
    }
}
