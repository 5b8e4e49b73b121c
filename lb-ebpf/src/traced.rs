//! The maps as a traced packet sees them ([`lb_common::trace`]): what is looked up is written down, and nothing else
//! is written. Flows that the packet would have had remembered stand in a map of their own, which comes first.

use core::ops::DerefMut;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_MMAPABLE},
    macros::map,
    maps::{Array, HashMap},
    programs::XdpContext,
};
use lb_common::{
    attempt::{Attempt, Signal},
    backend::Backend,
    datapath::{Claim, Direction, Draft, Entries, Fib, Note, Question, Step, StepKind, Tables},
    directory::{Filter, Key, Way},
    flow::{Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    interface::Interface,
    maps::Feature,
    path::Path,
    pool::Pool,
    probe_link::ProbeLink,
    range::Ranges,
    route::Routes,
    row::Row,
    trace::{self, Journal, MOST, Topic},
    tracked::{Origin, Tracked},
    verdict::TrackEvent,
    wire::Ip,
};

use crate::maps::Maps;

#[map]
static JOURNAL: Array<Journal> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SHADOW: HashMap<FlowKey, Flow> = HashMap::with_max_entries(trace::SHADOWS, 0);

/// In the place of a pair: the flow was forgotten.
const FORGOTTEN: u32 = u32::MAX;

/// Writes an entry down.
#[inline(always)]
fn put(topic: Topic, detail: u32, words: [u64; 2]) {
    let Some(journal) = JOURNAL.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the element of a map, which one test run at a time writes.
    let journal = unsafe { &mut *journal };
    let place = journal.length as usize % MOST;
    journal.length += 1;
    if let Some(entry) = journal.entries.get_mut(place) {
        entry.topic = topic as u32;
        entry.detail = detail;
        entry.words = words;
    }
}

/// Flows that can be remembered yet.
#[inline(always)]
fn room() -> Option<&'static mut u32> {
    let journal = JOURNAL.get_ptr_mut(0)?;
    // SAFETY: the element of a map, which one test run at a time writes.
    Some(unsafe { &mut (*journal).room })
}

/// Takes the room of one flow, where there is any.
#[inline(always)]
fn take_room() -> bool {
    match room() {
        Some(room) if *room > 0 => {
            *room -= 1;
            true
        }
        _ => false,
    }
}

/// Writes down what a program came to.
#[inline(always)]
pub fn note(step: Step) {
    let (topic, detail) = match step.kind() {
        StepKind::Reason(reason) => (Topic::Reason, reason),
        StepKind::Transmit => (Topic::Transmit, 0),
        StepKind::Redirect(ifindex) => (Topic::Redirect, ifindex),
        StepKind::Detour(program) => (Topic::Program, program),
    };
    put(topic, detail, [0; 2]);
}

/// The maps, as one traced packet sees them.
pub struct Traced<'a>(Maps<'a, false>);

impl<'a> Traced<'a> {
    /// For the packet of `ctx`, which came in by the interface that the journal names: a context that says so is beyond
    /// kernels before 5.15.
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Option<Self> {
        let ingress = JOURNAL.get(0)?.ingress;
        Maps::of(ctx, ingress).map(Self)
    }
}

/// A bucket of tracked flows that is read.
pub struct Read<E>(E);

impl<E: Entries> Entries for Read<E> {
    #[inline(always)]
    fn load(&self, index: usize) -> Tracked {
        self.0.load(index)
    }

    #[inline(always)]
    fn replace(&self, index: usize, before: Tracked, _: Tracked) -> bool {
        self.0.load(index) == before
    }

    #[inline(always)]
    fn note_origin(&self, _: usize, _: Origin) {}
}

impl Tables for Traced<'_> {
    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.0.ingress()
    }

    #[inline(always)]
    fn interface(&self) -> Interface {
        self.0.interface()
    }

    #[inline(always)]
    fn serves(&self, v6: bool) -> bool {
        self.0.serves(v6)
    }

    #[inline(always)]
    fn modes(&self) -> u32 {
        self.0.modes()
    }

    #[inline(always)]
    fn mode(&self, backend: &Backend) -> u8 {
        self.0.mode(backend)
    }

    #[inline(always)]
    fn uses(&self, feature: Feature) -> bool {
        self.0.uses(feature)
    }

    #[inline(always)]
    fn uses_any(&self, features: u32) -> bool {
        self.0.uses_any(features)
    }

    #[inline(always)]
    fn icmp_rate(&self) -> u32 {
        self.0.icmp_rate()
    }

    #[inline(always)]
    fn probe_link(&self) -> Option<ProbeLink> {
        self.0.probe_link()
    }

    #[inline(always)]
    fn hash_key(&self) -> [u64; 2] {
        self.0.hash_key()
    }

    #[inline(always)]
    fn addresses(&self) -> &Filter {
        self.0.addresses()
    }

    /// A hint that spares time, of which there is enough.
    #[inline(always)]
    fn front(&self, _: u64) -> Option<&Way> {
        None
    }

    #[inline(always)]
    fn find(&self, key: &Key, v6: bool) -> Option<u64> {
        let Some(value) = self.0.find(key, v6) else {
            put(Topic::Find, 0, [key.tag, 0]);
            return None;
        };
        put(Topic::Find, 1, [key.tag, value]);
        Some(value)
    }

    #[inline(always)]
    fn row(&self, element: u32, index: u32) -> Option<Row> {
        let place = u64::from(element) | u64::from(index) << 32;
        let Some(row) = self.0.row(element, index) else {
            put(Topic::Row, 0, [place, 0]);
            return None;
        };
        put(Topic::Row, 1, [place, row.0.into()]);
        Some(row)
    }

    #[inline(always)]
    fn backend(&self, pair: u32) -> Option<&Backend> {
        let Some(backend) = self.0.backend(pair) else {
            put(Topic::Backend, 0, [pair.into(), 0]);
            return None;
        };
        put(Topic::Backend, 1, [pair.into(), 0]);
        Some(backend)
    }

    #[inline(always)]
    fn link(&self, ifindex: u32) -> Interface {
        self.0.link(ifindex)
    }

    #[inline(always)]
    fn routes(&self, v6: bool) -> Option<&Routes> {
        self.0.routes(v6)
    }

    #[inline(always)]
    fn fib<I: Ip>(&self, source: I::Address, destination: I::Address) -> Fib {
        match self.0.fib::<I>(source, destination) {
            Fib::Unroutable => {
                put(Topic::Fib, 0, [0; 2]);
                Fib::Unroutable
            }
            Fib::Unresolved => {
                put(Topic::Fib, 1, [0; 2]);
                Fib::Unresolved
            }
            Fib::Resolved { link, ifindex } => {
                put(Topic::Fib, 2, [ifindex.into(), 0]);
                Fib::Resolved { link, ifindex }
            }
        }
    }

    #[inline(always)]
    fn ranges(&self, element: u32) -> Option<&Ranges> {
        self.0.ranges(element)
    }

    #[inline(always)]
    fn path(&self, index: u16) -> Path {
        self.0.path(index)
    }

    #[inline(always)]
    fn set_path(&self, _: u16, _: Path) {}

    #[inline(always)]
    fn pool(&self, index: u16) -> Option<&Pool> {
        self.0.pool(index)
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey, _: Option<u32>) -> Option<Flow> {
        let found = match SHADOW.get_ptr(key) {
            // SAFETY: an element of a map, which stays valid while the program runs.
            Some(flow) => Some(unsafe { *flow }).filter(|flow| flow.pair != FORGOTTEN),
            None => self.0.flow(key, None),
        };
        let Some(flow) = found else {
            put(Topic::Flow, 0, [0; 2]);
            return None;
        };
        put(Topic::Flow, 1, [flow.pair.into(), 0]);
        Some(flow)
    }

    #[inline(always)]
    fn claim(&self, key: &FlowKey, flow: &Flow) -> Claim {
        let claim = if self.flow(key, None).is_some() {
            Claim::Taken
        } else if take_room() && SHADOW.insert(key, flow, BPF_ANY.into()).is_ok() {
            Claim::Made
        } else {
            Claim::Full
        };
        let made = matches!(claim, Claim::Made);
        put(Topic::Claim, made.into(), [flow.pair.into(), 0]);
        claim
    }

    #[inline(always)]
    fn release(&self, key: &FlowKey) {
        let forgotten = Flow {
            pair: FORGOTTEN,
            ..Flow::default()
        };
        // Where it finds no room, the flow is found once more.
        let _full = SHADOW.insert(key, &forgotten, BPF_ANY.into());
        if let Some(room) = room() {
            *room += 1;
        }
    }

    #[inline(always)]
    fn tracked(&self, number: u32) -> Option<impl Entries> {
        self.0.tracked(number).map(Read)
    }

    #[inline(always)]
    fn touch(&self, _: u32, _: u32) {}

    #[inline(always)]
    fn note_event(&self, event: TrackEvent) {
        put(Topic::Track, event.index(), [0; 2]);
    }

    #[inline(always)]
    fn attempt(&self, flow: u64) -> Attempt {
        self.0.attempt(flow)
    }

    #[inline(always)]
    fn set_attempt(&self, _: u64, _: Attempt) {}

    #[inline(always)]
    fn note_signal(&self, _: u32, _: Signal) {}

    #[inline(always)]
    fn settled(&self, number: u64) -> u64 {
        self.0.settled(number)
    }

    #[inline(always)]
    fn clock(&self) -> u32 {
        self.0.clock()
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        let Some(fragment) = self.0.fragment(key) else {
            put(Topic::Fragment, 0, [0; 2]);
            return None;
        };
        put(Topic::Fragment, 1, [0; 2]);
        Some(fragment)
    }

    #[inline(always)]
    fn remember(&self, _: &FragmentKey, _: &Fragment) {}

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }

    /// Of a ration of its own: that map is not shared.
    #[inline(always)]
    fn may_answer(&self) -> bool {
        self.0.may_answer()
    }

    #[inline(always)]
    fn draft(&self) -> Option<impl DerefMut<Target = Draft>> {
        self.0.draft()
    }

    #[inline(always)]
    fn question(&self) -> Option<impl DerefMut<Target = Question>> {
        self.0.question()
    }

    #[inline(always)]
    fn note(&self) -> Note {
        self.0.note()
    }

    #[inline(always)]
    fn leave_note(&self, note: Note) {
        self.0.leave_note(note);
    }

    #[inline(always)]
    fn count(&self, pair: u32, direction: Direction, bytes: usize) {
        let back = matches!(direction, Direction::Return);
        put(Topic::Counted, back.into(), [pair.into(), bytes as u64]);
    }
}
