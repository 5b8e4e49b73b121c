//! The contents of all maps, and the host build's view of them.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::BTreeMap,
    ops::DerefMut,
};

use lb_common::{
    Verdict,
    attempt::{Attempt, Signal},
    backend::{Backend, Mode},
    counters::{Allowance, Signals, Traffic},
    datapath::{self, Claim, Direction, Draft, Entries, Fib, Note, Question, Tables},
    directory::{Filter, Front, Key, Seed, Set, WAYS, Way},
    flow::{Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    interface::Interface,
    maps::{Constants, Control, Feature},
    path::Path,
    pool::Pool,
    probe_link::ProbeLink,
    range::Ranges,
    route::{self, Routes},
    row::{ROWS_PER_ELEMENT, Row, Times},
    tracked::{ENTRIES, Origin, Tracked},
    verdict::TrackEvent,
    wire::{Ip, slice::SliceFrame},
};

/// The contents of all maps that the daemon writes.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the map of its name")]
pub struct Image {
    pub constants: Constants,
    pub control: Control,
    pub directory: Vec<Set>,
    pub slots: Vec<[u32; ROWS_PER_ELEMENT as usize]>,
    pub backends: Vec<Backend>,
    pub routes: Vec<Routes>,
    pub interfaces: Vec<Interface>,
    pub ranges: Vec<Ranges>,
    pub pools: Vec<Pool>,
    pub paths: Vec<Path>,
    /// Entries of `FLOWS`.
    pub flows: u32,
    pub times: Vec<[u32; ROWS_PER_ELEMENT as usize]>,
    pub tracked: Vec<[u64; ENTRIES]>,
    pub origins: Vec<[u64; ENTRIES]>,
}

/// Room before a frame, as the kernel's test runner leaves it.
const HEADROOM: usize = 256;

/// What the host build made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// What was counted, under which pair.
    pub counted: Vec<(u32, Traffic)>,
}

impl Image {
    /// Runs the host build on a frame that came in by interface `ingress`, where the kernel does not
    /// forward.
    #[must_use]
    pub fn run(&self, ingress: u32, frame: &[u8]) -> Outcome {
        self.host(Fib::Unroutable).run(ingress, frame)
    }

    /// The host build over these maps, where the kernel's forwarding table says `fib` of every client.
    #[must_use]
    pub fn host(&self, fib: Fib) -> Host<'_> {
        Host {
            image: self,
            fib,
            paths: RefCell::new(self.paths.clone()),
            flows: RefCell::default(),
            fragments: RefCell::default(),
            allowance: RefCell::default(),
            draft: RefCell::default(),
            note: Cell::default(),
            question: RefCell::default(),
            tracked: RefCell::new(self.tracked.clone()),
            origins: RefCell::new(self.origins.clone()),
            times: RefCell::new(self.times.clone()),
            events: RefCell::default(),
            attempts: RefCell::default(),
            signals: RefCell::default(),
            now_ns: Cell::new(1 << 40),
        }
    }
}

/// The host build, and what it remembers from packet to packet.
#[derive(Debug)]
pub struct Host<'a> {
    image: &'a Image,
    fib: Fib,
    paths: RefCell<Vec<Path>>,
    flows: RefCell<BTreeMap<FlowKey, Flow>>,
    fragments: RefCell<BTreeMap<FragmentKey, Fragment>>,
    allowance: RefCell<Allowance>,
    draft: RefCell<Draft>,
    note: Cell<Note>,
    question: RefCell<Question>,
    tracked: RefCell<Vec<[u64; ENTRIES]>>,
    origins: RefCell<Vec<[u64; ENTRIES]>>,
    times: RefCell<Vec<[u32; ROWS_PER_ELEMENT as usize]>>,
    events: RefCell<BTreeMap<TrackEvent, u64>>,
    attempts: RefCell<BTreeMap<u32, Attempt>>,
    signals: RefCell<BTreeMap<u32, Signals>>,
    /// Nanoseconds since the system started, as packets see them.
    pub now_ns: Cell<u64>,
}

impl Host<'_> {
    /// Runs it on a frame that came in by interface `ingress`.
    #[must_use]
    pub fn run(&self, ingress: u32, frame: &[u8]) -> Outcome {
        self.run_in(HEADROOM, ingress, frame)
    }

    /// The same with `room` bytes before the frame.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn run_in(&self, room: usize, ingress: u32, frame: &[u8]) -> Outcome {
        let tables = HostTables {
            host: self,
            image: self.image,
            fib: self.fib,
            ingress,
            counted: RefCell::default(),
        };
        let mut buffer = vec![0; room];
        buffer.extend(frame);
        let mut frame = SliceFrame::new(&mut buffer, room).expect("a place within the buffer");
        let verdict = datapath::forward(&mut frame, &tables);
        Outcome {
            verdict,
            frame: frame.bytes().to_vec(),
            counted: tables.counted.into_inner(),
        }
    }

    /// The same host, what it remembers and the time, after its maps became those of another image.
    #[must_use]
    pub fn over<'b>(&self, image: &'b Image) -> Host<'b> {
        Host {
            image,
            fib: self.fib,
            paths: RefCell::new(image.paths.clone()),
            flows: self.flows.clone(),
            fragments: self.fragments.clone(),
            allowance: self.allowance.clone(),
            draft: self.draft.clone(),
            note: self.note.clone(),
            question: self.question.clone(),
            tracked: self.tracked.clone(),
            origins: self.origins.clone(),
            times: self.times.clone(),
            events: self.events.clone(),
            attempts: self.attempts.clone(),
            signals: self.signals.clone(),
            now_ns: self.now_ns.clone(),
        }
    }

    /// Remembered flows.
    #[must_use]
    pub fn flows(&self) -> BTreeMap<FlowKey, Flow> {
        self.flows.borrow().clone()
    }

    /// What packets showed of backends, by pair.
    #[must_use]
    pub fn signals(&self) -> BTreeMap<u32, Signals> {
        self.signals.borrow().clone()
    }

    /// Tracked flows.
    #[must_use]
    pub fn tracked(&self) -> Vec<u64> {
        self.tracked.borrow().concat()
    }

    /// Whose they are.
    #[must_use]
    pub fn origins(&self) -> Vec<u64> {
        self.origins.borrow().concat()
    }

    /// Seconds in which packets of moving rows went elsewhere, by the row's place in `SLOTS`.
    #[must_use]
    pub fn times(&self) -> BTreeMap<u32, u16> {
        elsewhere(self.times.borrow().concat())
    }

    /// What it leaves behind: times of rows, and tracked flows.
    #[must_use]
    pub fn left(self) -> (Vec<[u32; ROWS_PER_ELEMENT as usize]>, Vec<[u64; ENTRIES]>) {
        (self.times.into_inner(), self.tracked.into_inner())
    }

    /// What became of flows that were to be tracked.
    #[must_use]
    pub fn events(&self) -> BTreeMap<TrackEvent, u64> {
        self.events.borrow().clone()
    }

    /// Paths of tunnels.
    #[must_use]
    pub fn paths(&self) -> Vec<Path> {
        self.paths.borrow().clone()
    }
}

/// When packets of rows last went elsewhere, where any did, by the rows' places.
pub(crate) fn elsewhere(times: impl IntoIterator<Item = u32>) -> BTreeMap<u32, u16> {
    let times = times
        .into_iter()
        .map(|word| -> Times { zerocopy::transmute!(word) });
    let times = (0..).zip(times.map(|times| times.elsewhere));
    times.filter(|(_, elsewhere)| *elsewhere != 0).collect()
}

/// A bucket of tracked flows, and whose they are.
struct Bucket<'a> {
    entries: RefCell<RefMut<'a, [u64; ENTRIES]>>,
    origins: RefCell<RefMut<'a, [u64; ENTRIES]>>,
}

impl Entries for Bucket<'_> {
    fn load(&self, index: usize) -> Tracked {
        Tracked(self.entries.borrow()[index])
    }

    fn replace(&self, index: usize, before: Tracked, after: Tracked) -> bool {
        let entry = &mut self.entries.borrow_mut()[index];
        assert_eq!(*entry, before.0, "nobody else writes");
        *entry = after.0;
        true
    }

    fn note_origin(&self, index: usize, origin: Origin) {
        self.origins.borrow_mut()[index] = origin.0;
    }
}

fn element(
    map: &RefCell<Vec<[u64; ENTRIES]>>,
    number: usize,
) -> Option<RefMut<'_, [u64; ENTRIES]>> {
    RefMut::filter_map(map.borrow_mut(), |map| map.get_mut(number)).ok()
}

struct HostTables<'a> {
    host: &'a Host<'a>,
    image: &'a Image,
    fib: Fib,
    ingress: u32,
    counted: RefCell<Vec<(u32, Traffic)>>,
}

impl Tables for HostTables<'_> {
    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn interface(&self) -> Interface {
        self.image
            .interfaces
            .get(self.ingress as usize)
            .copied()
            .unwrap_or_default()
    }

    fn serves(&self, v6: bool) -> bool {
        if v6 {
            self.image.constants.ipv6 != 0
        } else {
            self.image.constants.ipv4 != 0
        }
    }

    fn modes(&self) -> u32 {
        self.image.constants.modes
    }

    fn mode(&self, backend: &Backend) -> u8 {
        match Mode::only(self.modes()) {
            Mode::ANY => backend.mode,
            only => only,
        }
    }

    fn uses(&self, feature: Feature) -> bool {
        self.uses_any(feature as u32)
    }

    fn uses_any(&self, features: u32) -> bool {
        self.image.constants.features & features != 0
    }

    fn icmp_rate(&self) -> u32 {
        self.image.constants.icmp_rate
    }

    fn probe_link(&self) -> Option<ProbeLink> {
        let constants = &self.image.constants;
        ProbeLink::of_constants(constants.probe_link, constants.probe_port)
    }

    fn hash_key(&self) -> [u64; 2] {
        self.image.constants.hash_key
    }

    fn addresses(&self) -> &Filter {
        &self.image.control.addresses
    }

    fn front(&self, tag: u64) -> Option<&Way> {
        let front = Front(self.image.control.front).way(tag)? as usize;
        self.image
            .directory
            .get(front / WAYS)?
            .ways
            .get(front % WAYS)
    }

    fn find(&self, key: &Key, v6: bool) -> Option<u64> {
        let seed = Seed(self.image.control.directory);
        let set = seed.set(key.tag, self.image.constants.set_shift);
        self.image.directory.get(set as usize)?.find(key, v6)
    }

    fn row(&self, element: u32, index: u32) -> Option<Row> {
        let rows = self
            .image
            .slots
            .get((element + index / ROWS_PER_ELEMENT) as usize)?;
        rows.get((index % ROWS_PER_ELEMENT) as usize)
            .map(|row| Row(*row))
    }

    fn backend(&self, pair: u32) -> Option<&Backend> {
        self.image.backends.get(pair as usize)
    }

    fn link(&self, ifindex: u32) -> Interface {
        let link = self.image.interfaces.get(ifindex as usize);
        link.copied().unwrap_or_default()
    }

    fn routes(&self, v6: bool) -> Option<&Routes> {
        let half = self.image.control.routes as u32 & 1;
        self.image.routes.get(route::list(half, v6) as usize)
    }

    fn fib<I: Ip>(&self, _: I::Address, _: I::Address) -> Fib {
        self.fib
    }

    fn ranges(&self, element: u32) -> Option<&Ranges> {
        self.image.ranges.get(element as usize)
    }

    fn path(&self, index: u16) -> Path {
        let paths = self.host.paths.borrow();
        paths.get(usize::from(index)).copied().unwrap_or_default()
    }

    fn set_path(&self, index: u16, path: Path) {
        if let Some(place) = self.host.paths.borrow_mut().get_mut(usize::from(index)) {
            *place = path;
        }
    }

    fn pool(&self, index: u16) -> Option<&Pool> {
        self.image.pools.get(usize::from(index))
    }

    fn flow(&self, key: &FlowKey, refresh: Option<u32>) -> Option<Flow> {
        let mut flows = self.host.flows.borrow_mut();
        let flow = flows.get_mut(key)?;
        let copy = *flow;
        if let Some(marks) = refresh {
            flow.seen = self.clock();
            flow.marks = Flow::marked(flow.marks, marks);
        }
        Some(copy)
    }

    fn claim(&self, key: &FlowKey, flow: &Flow) -> Claim {
        let mut flows = self.host.flows.borrow_mut();
        if flows.contains_key(key) {
            return Claim::Taken;
        }
        if flows.len() >= self.image.flows as usize {
            return Claim::Full;
        }
        flows.insert(*key, *flow);
        Claim::Made
    }

    fn release(&self, key: &FlowKey) {
        self.host.flows.borrow_mut().remove(key);
    }

    fn tracked(&self, number: u32) -> Option<impl Entries> {
        let number = (number & self.image.constants.bucket_mask) as usize;
        Some(Bucket {
            entries: RefCell::new(element(&self.host.tracked, number)?),
            origins: RefCell::new(element(&self.host.origins, number)?),
        })
    }

    fn touch(&self, element: u32, index: u32) {
        let mut times = self.host.times.borrow_mut();
        let rows = times.get_mut((element + index / ROWS_PER_ELEMENT) as usize);
        let word = rows.and_then(|rows| rows.get_mut((index % ROWS_PER_ELEMENT) as usize));
        if let Some(word) = word {
            let times = Times {
                elsewhere: Times::at(self.clock()).elsewhere,
                ..zerocopy::transmute!(*word)
            };
            *word = zerocopy::transmute!(times);
        }
    }

    fn note_event(&self, event: TrackEvent) {
        *self.host.events.borrow_mut().entry(event).or_default() += 1;
    }

    fn attempt(&self, flow: u64) -> Attempt {
        let attempts = self.host.attempts.borrow();
        attempts
            .get(&Attempt::place(flow))
            .copied()
            .unwrap_or_default()
    }

    fn set_attempt(&self, flow: u64, attempt: Attempt) {
        self.host
            .attempts
            .borrow_mut()
            .insert(Attempt::place(flow), attempt);
    }

    fn note_signal(&self, pair: u32, signal: Signal) {
        if pair as usize >= self.image.backends.len() {
            return;
        }
        let mut signals = self.host.signals.borrow_mut();
        let signals = signals.entry(pair).or_default();
        let counter = match signal {
            Signal::Tried => &mut signals.tried,
            Signal::Again => &mut signals.again,
            Signal::Opened => &mut signals.opened,
            Signal::Reset => &mut signals.resets,
        };
        *counter += 1;
    }

    fn settled(&self, number: u64) -> u64 {
        number
    }

    fn question(&self) -> Option<impl DerefMut<Target = Question>> {
        Some(self.host.question.borrow_mut())
    }

    fn clock(&self) -> u32 {
        self.image.control.clock as u32
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        self.host.fragments.borrow().get(key).copied()
    }

    fn remember(&self, key: &FragmentKey, fragment: &Fragment) {
        self.host.fragments.borrow_mut().insert(*key, *fragment);
    }

    fn now_ns(&self) -> u64 {
        self.host.now_ns.get()
    }

    fn may_answer(&self) -> bool {
        let mut allowance = self.host.allowance.borrow_mut();
        allowance.take(self.icmp_rate(), self.now_ns())
    }

    fn draft(&self) -> Option<impl DerefMut<Target = Draft>> {
        Some(self.host.draft.borrow_mut())
    }

    fn note(&self) -> Note {
        self.host.note.get()
    }

    fn leave_note(&self, note: Note) {
        self.host.note.set(note);
    }

    fn count(&self, pair: u32, direction: Direction, bytes: usize) {
        if pair as usize >= self.image.backends.len() {
            return;
        }
        let bytes = bytes as u64;
        let traffic = match direction {
            Direction::Forward => Traffic {
                packets: 1,
                bytes,
                ..Traffic::default()
            },
            Direction::Return => Traffic {
                return_packets: 1,
                return_bytes: bytes,
                ..Traffic::default()
            },
        };
        self.counted.borrow_mut().push((pair, traffic));
    }
}
