//! The maps, and the data path's view of them.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    ops::DerefMut,
    ptr,
};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, BPF_NOEXIST},
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray},
    programs::XdpContext,
};
use lb_common::{
    attempt::{self, Attempt, Signal},
    backend::{Backend, Mode},
    counters::{Allowance, Signals, Traffic},
    datapath::{Claim, Detour, Direction, Draft, Entries, Fib, Note, Question, Tables},
    directory::{Filter, Front, Key, Seed, Set, WAYS, Way},
    flow::{Flow, FlowKey},
    fragment::{self, Fragment, FragmentKey},
    interface::Interface,
    maps::{Constants, Control, Feature, Meta},
    path::Path,
    pool::Pool,
    probe_link::ProbeLink,
    range::Ranges,
    route::{self, Routes},
    row::{ROWS_PER_ELEMENT, Row, Times},
    verdict::{self, TrackEvent},
    wire::Ip,
};

use crate::tracked;

/// Sizes of 1 are placeholders: the loader sets them from the configuration.
#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static DIRECTORY: Array<Set> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SLOTS: Array<[u32; ROWS_PER_ELEMENT as usize]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static TIMES: Array<[u32; ROWS_PER_ELEMENT as usize]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static BACKENDS: Array<Backend> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ROUTES: Array<Routes> = Array::with_max_entries(4, BPF_F_MMAPABLE);
#[map]
static INTERFACES: Array<Interface> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static RANGES: Array<Ranges> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static POOLS: Array<Pool> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static PATHS: Array<Path> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ATTEMPTS: Array<u64> = Array::with_max_entries(attempt::ATTEMPTS, 0);
#[map]
static SIGNALS: Array<Signals> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(1, 0);
/// `FLOWS` as it will be, while [`Feature::Growing`].
#[map]
static NEXT_FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(1, 0);
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment> =
    LruHashMap::with_max_entries(fragment::CAPACITY, 0);
#[map]
static ALLOWANCE: PerCpuArray<Allowance> = PerCpuArray::with_max_entries(1, 0);
#[map]
static NOTE: PerCpuArray<Note> = PerCpuArray::with_max_entries(1, 0);
#[map]
static SCRATCH: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static DRAFT: PerCpuArray<Draft> = PerCpuArray::with_max_entries(1, 0);
#[map]
static QUESTION: PerCpuArray<Question> = PerCpuArray::with_max_entries(1, 0);
#[map]
static DETOURS: ProgramArray = ProgramArray::with_max_entries(Detour::COUNT, 0);
#[map]
static STATS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1, 0);
/// The daemon's alone.
#[map]
static CARRIED: Array<Traffic> = Array::with_max_entries(1, 0);
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
    probe_link: 0,
    ipv4: 1,
    probe_port: 0,
    fib: 1,
    modes: 1,
    features: 0,
    icmp_rate: 0,
    bucket_mask: 0,
};

/// The only mode that backends have, or [`Mode::ANY`]; likewise.
#[unsafe(no_mangle)]
static ONLY_MODE: u8 = Mode::Nat as u8;

/// Reads a field of [`CONSTANTS`].
macro_rules! constant {
    ($($field:tt)+) => {
        // SAFETY: a static is always readable; volatile, as the loader writes it after compilation.
        unsafe { ptr::read_volatile(&raw const CONSTANTS.$($field)+) }
    };
}

/// No instruction, but one that the compiler cannot take for another one: it would make one of two tail calls that
/// differ in their index alone.
macro_rules! apart {
    ($name:literal) => {
        // SAFETY: a comment.
        unsafe {
            core::arch::asm!(
                concat!("# ", $name),
                options(nomem, nostack, preserves_flags)
            )
        }
    };
}

/// The number, by way of a map: of what comes from there the verifier knows nothing.
#[inline(always)]
pub fn unlearned(number: u64) -> u64 {
    let Some(place) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: an element of a per-CPU map, which only this CPU's program writes.
    unsafe { place.write_volatile(number) };
    // SAFETY: as above.
    unsafe { place.read_volatile() }
}

/// The maps, as one packet sees them. Where they are `PLAIN` the compiler knows what is not used. Control words are
/// read where they are asked for: each of them is right at any time, with what others said before.
pub struct Maps<'a, const PLAIN: bool> {
    ctx: &'a XdpContext,
    ingress: u32,
    interface: Interface,
    control: &'a Control,
}

impl<'a, const PLAIN: bool> Maps<'a, PLAIN> {
    /// For the packet of `ctx`; `None` where the kernel has no control words, which it always has.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel's index of an interface has 32 bits, which the context widens"
    )]
    pub fn new(ctx: &'a XdpContext) -> Option<Self> {
        Self::of(ctx, ctx.ingress_ifindex() as u32)
    }

    /// The same of a packet that came in by the interface of this index.
    #[inline(always)]
    pub fn of(ctx: &'a XdpContext, ingress: u32) -> Option<Self> {
        Some(Self {
            ctx,
            ingress,
            interface: INTERFACES.get(ingress).copied().unwrap_or_default(),
            control: CONTROL.get(0)?,
        })
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

/// Goes on with another program; comes back where it is not there.
///
/// A tail call whose index the verifier knows is a direct jump, any other one an indirect one, for which a CPU that
/// is guarded against Spectre takes 10 ns. So the way to the program of moving rows and back, which every packet of
/// such a row takes, is spelled out.
#[inline(always)]
pub fn detour(ctx: &XdpContext, program: u32) {
    const MOVING: u32 = Detour::Moving as u32;
    const COMMON: u32 = Detour::Common as u32;
    match program {
        MOVING => call(ctx, MOVING, || apart!("moving")),
        COMMON => call(ctx, COMMON, || apart!("common")),
        other => call(ctx, other, || ()),
    }
}

#[inline(always)]
fn call(ctx: &XdpContext, program: u32, apart: impl Fn()) {
    // SAFETY: the helper checks the index; where it fails it comes back.
    unsafe { DETOURS.tail_call(ctx, program) };
    apart();
}

impl<const PLAIN: bool> Tables for Maps<'_, PLAIN> {
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
        let known = if PLAIN { !Mode::NOT_PLAIN } else { u32::MAX };
        constant!(modes) & known
    }

    #[inline(always)]
    fn mode(&self, backend: &Backend) -> u8 {
        // SAFETY: as of `constant`.
        let only = unsafe { ptr::read_volatile(&raw const ONLY_MODE) };
        if only != Mode::ANY {
            return only;
        }
        // SAFETY: a reference is readable; volatile, as it would be read in vain before the branch.
        unsafe { ptr::read_volatile(&raw const backend.mode) }
    }

    #[inline(always)]
    fn uses(&self, feature: Feature) -> bool {
        self.uses_any(feature as u32)
    }

    #[inline(always)]
    fn uses_any(&self, features: u32) -> bool {
        let known = if PLAIN { !Feature::NOT_PLAIN } else { u32::MAX };
        features & known != 0 && constant!(features) & features & known != 0
    }

    #[inline(always)]
    fn icmp_rate(&self) -> u32 {
        constant!(icmp_rate)
    }

    #[inline(always)]
    fn probe_link(&self) -> Option<ProbeLink> {
        if PLAIN {
            return None;
        }
        ProbeLink::of_constants(constant!(probe_link), constant!(probe_port))
    }

    #[inline(always)]
    fn hash_key(&self) -> [u64; 2] {
        [constant!(hash_key[0]), constant!(hash_key[1])]
    }

    #[inline(always)]
    fn addresses(&self) -> &Filter {
        &self.control.addresses
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::indexing_slicing,
        reason = "ways are numbered in 32 bits; a remainder by the length is below it"
    )]
    fn front(&self, tag: u64) -> Option<&Way> {
        let front = Front(self.control.front).way(tag)?;
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
    fn link(&self, ifindex: u32) -> Interface {
        INTERFACES.get(ifindex).copied().unwrap_or_default()
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
    fn ranges(&self, element: u32) -> Option<&Ranges> {
        RANGES.get(element)
    }

    #[inline(always)]
    fn path(&self, index: u16) -> Path {
        PATHS.get(index.into()).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn set_path(&self, index: u16, path: Path) {
        if let Some(place) = PATHS.get_ptr_mut(index.into()) {
            // SAFETY: an element of a map, one aligned word, which others only store or load whole.
            unsafe { place.write(path) };
        }
    }

    #[inline(always)]
    fn pool(&self, index: u16) -> Option<&Pool> {
        POOLS.get(index.into())
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey, refresh: Option<u32>) -> Option<Flow> {
        let flow = match FLOWS.get_ptr_mut(key) {
            // Another interface may run the program that knows the next map only.
            None if self.uses(Feature::Growing) => NEXT_FLOWS.get_ptr_mut(key)?,
            found => found?,
        };
        // SAFETY: an element of a map, which stays valid while the program runs.
        let copy = unsafe { *flow };
        if let Some(marks) = refresh {
            refresh_flow(flow, copy, self.clock(), marks);
        }
        Some(copy)
    }

    #[inline(always)]
    fn claim(&self, key: &FlowKey, flow: &Flow) -> Claim {
        if !self.uses(Feature::Growing) {
            return claim_in(&FLOWS, key, flow);
        }
        // Taken where it is in either: programs that know one of the maps only may run on other CPUs.
        let claim = claim_in(&NEXT_FLOWS, key, flow);
        if !matches!(claim, Claim::Made) {
            return claim;
        }
        let claim = claim_in(&FLOWS, key, flow);
        if !matches!(claim, Claim::Made) {
            let _gone = NEXT_FLOWS.remove(key);
        }
        claim
    }

    #[inline(always)]
    fn release(&self, key: &FlowKey) {
        // It may have been taken out meanwhile.
        let _gone = FLOWS.remove(key);
        if self.uses(Feature::Growing) {
            let _gone = NEXT_FLOWS.remove(key);
        }
    }

    #[inline(always)]
    fn tracked(&self, number: u32) -> Option<impl Entries> {
        tracked::bucket(number & constant!(bucket_mask))
    }

    #[inline(always)]
    fn touch(&self, element: u32, index: u32) {
        let Some(times) = TIMES.get_ptr_mut(element + index / ROWS_PER_ELEMENT) else {
            return;
        };
        let times: *mut Times = times.cast();
        let place = times.wrapping_add((index % ROWS_PER_ELEMENT) as usize);
        // SAFETY: a field of one of the element's values.
        let elsewhere = unsafe { &raw mut (*place).elsewhere };
        let now = Times::at(self.clock()).elsewhere;
        // SAFETY: one aligned load.
        if unsafe { elsewhere.read_volatile() } != now {
            // SAFETY: one aligned store.
            unsafe { elsewhere.write_volatile(now) };
        }
    }

    #[inline(always)]
    fn note_event(&self, event: TrackEvent) {
        count_reason(event.index());
    }

    #[inline(always)]
    fn attempt(&self, flow: u64) -> Attempt {
        let Some(place) = ATTEMPTS.get_ptr(Attempt::place(flow)) else {
            return Attempt(0);
        };
        // SAFETY: an element of a map, which stays valid while the program runs; one aligned load.
        Attempt(unsafe { place.read_volatile() })
    }

    #[inline(always)]
    fn set_attempt(&self, flow: u64, attempt: Attempt) {
        if let Some(place) = ATTEMPTS.get_ptr_mut(Attempt::place(flow)) {
            // SAFETY: as above; one aligned store.
            unsafe { place.write_volatile(attempt.0) };
        }
    }

    #[inline(always)]
    fn note_signal(&self, pair: u32, signal: Signal) {
        let Some(signals) = SIGNALS.get_ptr_mut(pair) else {
            return;
        };
        let counters: *mut u64 = signals.cast();
        let counter = counters.wrapping_add(signal as usize);
        // SAFETY: a field of the element, which stays valid while the program runs. What was there before is not
        // asked for: so it is the instruction that every kernel has.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, 1) };
    }

    #[inline(always)]
    fn settled(&self, number: u64) -> u64 {
        unlearned(number)
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds since the system started: 32 bits are 136 years"
    )]
    fn clock(&self) -> u32 {
        self.control.clock as u32
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        // SAFETY: an element of a map; another CPU may write it while it is copied, for fragments of one
        // packet the same.
        unsafe { FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn remember(&self, key: &FragmentKey, fragment: &Fragment) {
        // It can fail where other CPUs hold all that is free: then the later fragments come early.
        let _full = FRAGMENTS.insert(key, fragment, 0);
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn may_answer(&self) -> bool {
        let Some(allowance) = ALLOWANCE.get_ptr_mut(0) else {
            return false;
        };
        // SAFETY: an element of a per-CPU map, which only this CPU's program writes.
        let allowance = unsafe { &mut *allowance };
        allowance.take(constant!(icmp_rate), self.now_ns())
    }

    #[inline(always)]
    fn draft(&self) -> Option<impl DerefMut<Target = Draft>> {
        let draft = DRAFT.get_ptr_mut(0)?;
        // SAFETY: an element of a per-CPU map, which only this CPU's program writes, in one place.
        Some(unsafe { &mut *draft })
    }

    #[inline(always)]
    fn question(&self) -> Option<impl DerefMut<Target = Question>> {
        let question = QUESTION.get_ptr_mut(0)?;
        // SAFETY: an element of a per-CPU map, which only this CPU's program writes, in one place.
        Some(unsafe { &mut *question })
    }

    #[inline(always)]
    fn note(&self) -> Note {
        NOTE.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn leave_note(&self, note: Note) {
        if let Some(place) = NOTE.get_ptr_mut(0) {
            // SAFETY: an element of a per-CPU map, which only this CPU's program writes.
            unsafe { *place = note };
        }
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

#[inline(always)]
fn claim_in(flows: &HashMap<FlowKey, Flow>, key: &FlowKey, flow: &Flow) -> Claim {
    const EEXIST: i64 = -17;
    match flows
        .insert(key, flow, BPF_NOEXIST.into())
        .map_err(i64::from)
    {
        Ok(()) => Claim::Made,
        Err(EEXIST) => Claim::Taken,
        Err(_) => Claim::Full,
    }
}

/// Takes note that a packet of a flow passed: stores only what changes, as other CPUs read it.
#[inline(always)]
fn refresh_flow(flow: *mut Flow, before: Flow, clock: u32, marks: u32) {
    if before.seen != clock {
        // SAFETY: a field of a map's element, which stays valid while the program runs.
        let seen = unsafe { &raw mut (*flow).seen };
        // SAFETY: one aligned store.
        unsafe { seen.write(clock) };
    }
    let marks = Flow::marked(before.marks, marks);
    if before.marks != marks {
        // SAFETY: as above.
        let place = unsafe { &raw mut (*flow).marks };
        // SAFETY: as above.
        unsafe { place.write(marks) };
    }
}
