//! What the way may ask of the outside.

use core::ops::DerefMut;

use super::{Draft, Note, Question, moving::Entries};
use crate::{
    attempt::{Attempt, Signal},
    backend::Backend,
    directory::{self, Filter, Way},
    flow::{Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    interface::Interface,
    maps::Feature,
    next_hop::Link,
    path::Path,
    pool::Pool,
    probe_link::ProbeLink,
    range::Ranges,
    route::Routes,
    row::Row,
    verdict::TrackEvent,
    wire::Ip,
};

/// Tables, counters and the one helper. Array elements come by reference; `None` is an index outside
/// of its map.
pub trait Tables {
    /// Index of the interface that the packet came in by.
    fn ingress(&self) -> u32;

    /// That interface; all zero if it is not one of ours.
    fn interface(&self) -> Interface;

    /// Whether packets of an address family may be for us: a load-time constant.
    fn serves(&self, v6: bool) -> bool;

    /// Modes that backends have, [`Mode::bit`](crate::backend::Mode::bit)s: a load-time constant.
    fn modes(&self) -> u32;

    /// A backend's mode, as number. Where the configuration has only one, it is a load-time constant.
    fn mode(&self, backend: &Backend) -> u8;

    /// Whether the configuration uses something: a load-time constant.
    fn uses(&self, feature: Feature) -> bool;

    /// Whether it uses any of several [`Feature`]s, by their bits: a load-time constant.
    fn uses_any(&self, features: u32) -> bool;

    /// ICMP errors that each CPU may make in a second; 0: none. A load-time constant.
    fn icmp_rate(&self) -> u32;

    /// The link that probes of the path come in by; a load-time constant, `None` where there are none.
    fn probe_link(&self) -> Option<ProbeLink>;

    /// The key of the flow hash: a load-time constant.
    fn hash_key(&self) -> [u64; 2];

    /// Which addresses the directory may hold.
    fn addresses(&self) -> &Filter;

    /// The way of the directory that is looked at first for a service, where it may have this tag.
    fn front(&self, tag: u64) -> Option<&Way>;

    /// The value under a key of the directory.
    fn find(&self, key: &directory::Key, v6: bool) -> Option<u64>;

    /// Row `index` (below the table's length) of the table that begins at `element`.
    fn row(&self, element: u32, index: u32) -> Option<Row>;

    /// A backend by its pair index.
    fn backend(&self, pair: u32) -> Option<&Backend>;

    /// Another interface, which a packet leaves by; all zero if it is not known.
    fn link(&self, ifindex: u32) -> Interface;

    /// The routes of a family.
    fn routes(&self, v6: bool) -> Option<&Routes>;

    /// Asks the kernel how to reach `destination`, as if it came from `source`.
    fn fib<I: Ip>(&self, source: I::Address, destination: I::Address) -> Fib;

    /// An element of `RANGES`.
    fn ranges(&self, element: u32) -> Option<&Ranges>;

    /// What is known of a tunnel's path.
    fn path(&self, index: u16) -> Path;

    /// Takes note of what is known of a tunnel's path now.
    fn set_path(&self, index: u16, path: Path);

    /// A pool of full NAT.
    fn pool(&self, index: u16) -> Option<&Pool>;

    /// A remembered flow. `refresh`: a packet of it passes, with these marks.
    fn flow(&self, key: &FlowKey, refresh: Option<u32>) -> Option<Flow>;

    /// Remembers a flow, unless its key is taken.
    fn claim(&self, key: &FlowKey, flow: &Flow) -> Claim;

    /// Forgets a flow.
    fn release(&self, key: &FlowKey);

    /// A bucket of tracked flows: `number` modulo their number. `None`: a fault of xlb.
    fn tracked(&self, number: u32) -> Option<impl Entries>;

    /// Takes note that a packet of a row went elsewhere than to its primary owner.
    fn touch(&self, element: u32, index: u32);

    /// Counts what became of a flow to be tracked.
    fn note_event(&self, event: TrackEvent);

    /// What stands at the place of a flow among connections on their way to be opened.
    fn attempt(&self, flow: u64) -> Attempt;

    /// Puts something else there.
    fn set_attempt(&self, flow: u64, attempt: Attempt);

    /// Counts under a pair what a packet shows of its backend.
    fn note_signal(&self, pair: u32, signal: Signal);

    /// The number itself, of which the kernel's verifier then knows nothing: ways that differ in it alone
    /// are one to it.
    fn settled(&self, number: u64) -> u64;

    /// Seconds since the system started, as the daemon last said.
    fn clock(&self) -> u32;

    /// What became of a packet's first fragment.
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment>;

    /// Remembers what became of a packet's first fragment.
    fn remember(&self, key: &FragmentKey, fragment: &Fragment);

    /// Nanoseconds since the system started.
    fn now_ns(&self) -> u64;

    /// Whether an ICMP error may be made: one less is left then.
    fn may_answer(&self) -> bool;

    /// Where a flow is put together; `None`: a fault of xlb.
    fn draft(&self) -> Option<impl DerefMut<Target = Draft>>;

    /// What the program of moving rows is asked; `None`: a fault of xlb.
    fn question(&self) -> Option<impl DerefMut<Target = Question>>;

    /// What the program before left to be known.
    fn note(&self) -> Note;

    /// Leaves a note to the next program.
    fn leave_note(&self, note: Note);

    /// Counts a packet of `bytes` under a pair.
    fn count(&self, pair: u32, direction: Direction, bytes: usize);
}

/// How a claim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The flow is remembered.
    Made,
    /// The key is another flow's.
    Taken,
    /// There is no room.
    Full,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client towards a backend.
    Forward,
    /// Back.
    Return,
}

/// The kernel's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fib {
    /// By this neighbour.
    Resolved {
        /// What to write at the head of the frame.
        link: Link,
        /// The interface it leaves by.
        ifindex: u32,
    },
    /// There is a route, but the neighbour must be resolved, which only the kernel can do.
    Unresolved,
    /// There is no route, or the kernel does not forward.
    Unroutable,
}
