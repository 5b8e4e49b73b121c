//! The real program over real maps, run by `BPF_PROG_TEST_RUN`.

use std::collections::BTreeMap;

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, MapData, PerCpuArray, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    AnswerReason, DropReason, PassReason, Verdict,
    counters::{Signals, Traffic},
    datapath::Detour,
    flow::{Flow, FlowKey},
    maps::{self, Globals},
    path::Path,
    pool::Pool,
    range::Ranges,
    route::Routes,
    row::ROWS_PER_ELEMENT,
    tracked::ENTRIES,
    verdict::TrackEvent,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::image::{self, Image};

/// Interface that a test run's packets come in by: the namespace's loopback.
pub const INGRESS: u32 = 1;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// The loaded program.
pub struct Kernel {
    /// The object, its maps filled.
    pub ebpf: Ebpf,
    /// The kernel empties such an array when nobody holds it any more.
    _detours: ProgramArray<MapData>,
    /// The name of the program that is attached.
    program: &'static str,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// What the program made of a packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// XDP's action.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// The embedded object.
///
/// # Panics
///
/// Where it has not been built.
#[must_use]
pub fn object(name: &str) -> Vec<u8> {
    let path = std::env::var("XLB_BPF_DIR").map_or_else(
        |_| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf"),
        std::path::PathBuf::from,
    );
    let file = path.join(format!("{name}.o"));
    std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask build-ebpf`", file.display()))
}

impl Kernel {
    /// Loads the program with maps that say what `image` says.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses.
    #[must_use]
    pub fn load(image: &Image) -> Self {
        let globals = Globals::of(image.constants);
        let mut loader = EbpfLoader::new();
        for (name, value) in globals.by_name() {
            loader.override_global(name, value, true);
        }
        let mut ebpf = loader
            .map_max_entries(maps::DIRECTORY, image.directory.len() as u32)
            .map_max_entries(maps::SLOTS, image.slots.len().max(1) as u32)
            .map_max_entries(maps::BACKENDS, image.backends.len().max(1) as u32)
            .map_max_entries(maps::STATS, image.backends.len().max(1) as u32)
            .map_max_entries(maps::SIGNALS, image.backends.len().max(1) as u32)
            .map_max_entries(maps::INTERFACES, image.interfaces.len() as u32)
            .map_max_entries(maps::RANGES, image.ranges.len().max(1) as u32)
            .map_max_entries(maps::POOLS, image.pools.len().max(1) as u32)
            .map_max_entries(maps::PATHS, image.paths.len().max(1) as u32)
            .map_max_entries(maps::FLOWS, image.flows.max(1))
            .map_max_entries(maps::TIMES, image.slots.len().max(1) as u32)
            .map_max_entries(maps::TRACKED, image.tracked.len() as u32)
            .map_max_entries(maps::ORIGINS, image.origins.len() as u32)
            .load(&object("xlb"))
            .expect("the object loads");
        let detours = load_programs(&mut ebpf, &image.constants);
        let mut kernel = Self {
            ebpf,
            _detours: detours,
            program: Detour::Common.program(&image.constants),
        };
        kernel.fill(image);
        kernel
    }

    /// Makes the maps say what `image` says; sizes and constants must be those of the one it was
    /// loaded with.
    pub fn fill(&mut self, image: &Image) {
        self.write::<{ size_of::<maps::Control>() }, _>(maps::CONTROL, &[image.control]);
        self.write::<128, _>(maps::DIRECTORY, &image.directory);
        self.write::<{ 4 * ROWS_PER_ELEMENT as usize }, _>(maps::SLOTS, &image.slots);
        self.write::<64, _>(maps::BACKENDS, &image.backends);
        self.write::<{ size_of::<Routes>() }, _>(maps::ROUTES, &image.routes);
        self.write::<8, _>(maps::INTERFACES, &image.interfaces);
        self.write::<{ size_of::<Ranges>() }, _>(maps::RANGES, &image.ranges);
        self.write::<{ size_of::<Pool>() }, _>(maps::POOLS, &image.pools);
        self.write::<8, _>(maps::PATHS, &image.paths);
    }

    /// Makes every bucket of tracked flows say this.
    pub fn fill_tracked(&mut self, buckets: u32, bucket: [u64; ENTRIES]) {
        self.write::<64, _>(maps::TRACKED, &vec![bucket; buckets as usize]);
    }

    fn write<const N: usize, T: IntoBytes + Immutable>(&mut self, name: &str, values: &[T])
    where
        [u8; N]: Pod,
    {
        let map = self.ebpf.map_mut(name).expect("the map");
        let mut map: Array<&mut MapData, [u8; N]> = Array::try_from(map).expect("its value's size");
        for (index, value) in values.iter().enumerate() {
            let bytes: [u8; N] = value.as_bytes().try_into().expect("its value's size");
            map.set(index as u32, bytes, 0)
                .expect("an index within the map");
        }
    }

    /// Runs the program on a frame.
    #[must_use]
    pub fn run(&self, frame: &[u8]) -> Outcome {
        let mut out = vec![0; frame.len() + 256];
        let result = self
            .program()
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ..TestRunOptions::default()
            })
            .expect("a test run");
        out.truncate(result.data_size_out as usize);
        Outcome {
            action: result.return_value,
            frame: out,
        }
    }

    /// The loaded program.
    #[must_use]
    pub fn program(&self) -> &Xdp {
        self.ebpf
            .program(self.program)
            .expect("a program")
            .try_into()
            .expect("XDP")
    }

    /// Its descriptor.
    #[must_use]
    pub fn fd(&self) -> &ProgramFd {
        self.program().fd().expect("it is loaded")
    }

    /// Traffic of a pair, summed over CPUs.
    #[must_use]
    pub fn traffic(&self, pair: u32) -> Traffic {
        let map = self.ebpf.map(maps::STATS).expect("the map");
        let map: PerCpuArray<&MapData, [u8; 32]> =
            PerCpuArray::try_from(map).expect("its value's size");
        let mut sum = Traffic::default();
        for value in map.get(&pair, 0).expect("an index within the map").iter() {
            sum += Traffic::read_from_bytes(value).expect("its value's size");
        }
        sum
    }

    /// Pairs that traffic is counted of.
    #[must_use]
    pub fn pairs(&self) -> u32 {
        let map = self.ebpf.map(maps::STATS).expect("the map");
        let map: PerCpuArray<&MapData, [u8; 32]> =
            PerCpuArray::try_from(map).expect("its value's size");
        map.len()
    }

    /// Remembered flows.
    #[must_use]
    pub fn flows(&self) -> BTreeMap<FlowKey, Flow> {
        const KEY: usize = size_of::<FlowKey>();
        const FLOW: usize = size_of::<Flow>();
        let map = self.ebpf.map(maps::FLOWS).expect("the map");
        let map: HashMap<&MapData, [u8; KEY], [u8; FLOW]> =
            HashMap::try_from(map).expect("its sizes");
        map.iter()
            .map(|entry| {
                let (key, flow) = entry.expect("nobody else writes");
                (zerocopy::transmute!(key), zerocopy::transmute!(flow))
            })
            .collect()
    }

    /// What packets showed of backends, by pair.
    #[must_use]
    pub fn signals(&self) -> BTreeMap<u32, Signals> {
        const WORDS: usize = size_of::<Signals>() / size_of::<u64>();
        let words = self.words::<WORDS>(maps::SIGNALS);
        let all =
            (0..).zip(words.chunks(WORDS).map(|words| {
                Signals::read_from_bytes(words.as_bytes()).expect("its value's size")
            }));
        all.filter(|(_, shown)| *shown != Signals::default())
            .collect()
    }

    /// Tracked flows.
    #[must_use]
    pub fn tracked(&self) -> Vec<u64> {
        self.words::<ENTRIES>(maps::TRACKED)
    }

    /// Whose they are.
    #[must_use]
    pub fn origins(&self) -> Vec<u64> {
        self.words::<ENTRIES>(maps::ORIGINS)
    }

    /// Seconds in which packets of moving rows went elsewhere, by the row's place in `SLOTS`.
    #[must_use]
    pub fn times(&self) -> BTreeMap<u32, u16> {
        const WORDS: usize = ROWS_PER_ELEMENT as usize / 2;
        let words = self.words::<WORDS>(maps::TIMES).into_iter();
        image::elsewhere(words.flat_map(|word| -> [u32; 2] { zerocopy::transmute!(word) }))
    }

    /// What became of flows that were to be tracked.
    #[must_use]
    pub fn events(&self) -> BTreeMap<TrackEvent, u64> {
        let counted = |event: &TrackEvent| (*event, self.reason(event.index()));
        let counted = TrackEvent::ALL.iter().map(counted);
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// An array's values of `N` words each, one after the other.
    fn words<const N: usize>(&self, name: &str) -> Vec<u64>
    where
        [u64; N]: Pod,
    {
        let map = self.ebpf.map(name).expect("the map");
        let map: Array<&MapData, [u64; N]> = Array::try_from(map).expect("its value's size");
        map.iter()
            .flat_map(|value| value.expect("an index within the map"))
            .collect()
    }

    /// Paths of tunnels.
    #[must_use]
    pub fn paths(&self) -> Vec<Path> {
        let map = self.ebpf.map(maps::PATHS).expect("the map");
        let map: Array<&MapData, u64> = Array::try_from(map).expect("its value's size");
        map.iter()
            .map(|path| Path(path.expect("an index within the map")))
            .collect()
    }

    /// Packets counted under a reason's number.
    #[must_use]
    pub fn reason(&self, reason: u32) -> u64 {
        let map = self.ebpf.map(maps::REASONS).expect("the map");
        let map: PerCpuArray<&MapData, u64> = PerCpuArray::try_from(map).expect("its value's size");
        map.get(&reason, 0)
            .expect("an index within the map")
            .iter()
            .sum()
    }
}

/// Loads every program of the data path that packets may come to, and lets them find each other.
fn load_programs(ebpf: &mut Ebpf, constants: &maps::Constants) -> ProgramArray<MapData> {
    let map = ebpf.take_map(maps::DETOURS).expect("the map");
    let mut detours = ProgramArray::try_from(map).expect("an array of programs");
    let used = |detour: &Detour| detour.is_used(constants);
    for detour in Detour::ALL.into_iter().filter(used) {
        let name = detour.program(constants);
        let program = ebpf.program_mut(name).expect("a program");
        let program: &mut Xdp = program.try_into().expect("XDP");
        program.load().unwrap_or_else(|error| panic!("{error:#?}"));
        let fd = program.fd().expect("it is loaded");
        detours
            .set(detour as u32, fd, 0)
            .expect("an index within the map");
    }
    detours
}

/// XDP's action for a verdict, and the counter that moves with it.
#[must_use]
pub const fn action(verdict: Verdict) -> (u32, Option<u32>) {
    match verdict {
        Verdict::Transmit => (XDP_TX, None),
        Verdict::Answer(reason) => (XDP_TX, Some(AnswerReason::index(reason))),
        Verdict::Redirect(_) => (XDP_REDIRECT, None),
        Verdict::Pass(reason) => (XDP_PASS, Some(PassReason::index(reason))),
        Verdict::Drop(reason) => (XDP_DROP, Some(DropReason::index(reason))),
    }
}
