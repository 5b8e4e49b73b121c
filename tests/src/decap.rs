//! The program of `xlb decap`, over real maps and as host build, and cases for both.

use std::net::IpAddr;

use aya::{
    Ebpf, EbpfLoader,
    maps::{
        Array, HashMap, MapData, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    address::Address,
    decap::{self, Fate, OUTCOMES, Outcome, Rules, Settings},
    interface::Interface,
    wire::{Ip, slice::SliceFrame, transport::Tcp},
};
use zerocopy::IntoBytes as _;

use crate::{fixture::difference, kernel::object, packet::OUR_MAC};

/// Room before a frame, as the kernel's test runner leaves it.
const HEADROOM: usize = 256;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// What is taken out of tunnels on the interface with [`OUR_MAC`].
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// Inner destinations.
    pub vips: Vec<IpAddr>,
    /// Outer sources: prefix and its length.
    pub sources: Vec<(IpAddr, u32)>,
    /// GUE's port.
    pub gue_port: u16,
}

/// A frame, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is claimed.
    pub sentence: String,
    /// The frame that comes in.
    pub frame: Vec<u8>,
    /// What is counted.
    pub outcome: Outcome,
    /// The frame afterwards.
    pub after: Vec<u8>,
}

impl Case {
    /// The frame loses its outer headers.
    #[must_use]
    pub fn taken(
        sentence: impl Into<String>,
        frame: Vec<u8>,
        outcome: Outcome,
        after: Vec<u8>,
    ) -> Self {
        Self {
            sentence: sentence.into(),
            frame,
            outcome,
            after,
        }
    }

    /// The frame stays as it is.
    #[must_use]
    pub fn untouched(sentence: impl Into<String>, frame: Vec<u8>, outcome: Outcome) -> Self {
        Self {
            sentence: sentence.into(),
            outcome,
            after: frame.clone(),
            frame,
        }
    }
}

impl Ruleset {
    const fn settings(&self) -> Settings {
        Settings {
            interface: Interface::new(OUR_MAC, 1500, false),
            gue_port: self.gue_port.to_be_bytes(),
            reserved: [0; 6],
        }
    }

    /// Runs the host build: what is counted, and the frame afterwards.
    ///
    /// # Panics
    ///
    /// Never: the headroom is within the buffer.
    #[must_use]
    pub fn run(&self, frame: &[u8]) -> (Outcome, Vec<u8>) {
        let mut buffer = vec![0; HEADROOM];
        buffer.extend(frame);
        let mut frame = SliceFrame::new(&mut buffer, HEADROOM).expect("a place within the buffer");
        let outcome = decap::decapsulate(&mut frame, &Host(self));
        (outcome, frame.bytes().to_vec())
    }
}

/// The rules, looked through one by one.
struct Host<'a>(&'a Ruleset);

impl Rules for Host<'_> {
    fn settings(&self) -> Settings {
        self.0.settings()
    }

    fn is_vip(&self, address: Address) -> bool {
        self.0.vips.contains(&address.into())
    }

    fn is_allowed(&self, source: Address) -> bool {
        let source = u128::from_be_bytes(source.0);
        self.0.sources.iter().any(|(prefix, length)| {
            let differs = source ^ u128::from_be_bytes(Address::from(*prefix).0);
            differs.leading_zeros() >= bits(*prefix, *length)
        })
    }

    /// Nothing is connected where programs are tested.
    fn knows<I: Ip>(&self, _: &I, _: &Tcp) -> bool {
        false
    }
}

/// Length of a prefix among addresses as tables hold them.
const fn bits(prefix: IpAddr, length: u32) -> u32 {
    match prefix {
        IpAddr::V4(_) => 96 + length,
        IpAddr::V6(_) => length,
    }
}

/// The loaded program, its maps filled.
pub struct Program {
    ebpf: Ebpf,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}

impl Program {
    /// Loads the program with these rules.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses.
    #[must_use]
    pub fn load(rules: &Ruleset) -> Self {
        let ebpf = EbpfLoader::new()
            .map_max_entries(decap::VIPS, rules.vips.len() as u32)
            .map_max_entries(decap::SOURCES, rules.sources.len() as u32)
            .load(&object("xlb"))
            .expect("the object loads");
        let mut program = Self { ebpf };
        let xdp: &mut Xdp = program
            .ebpf
            .program_mut(decap::PROGRAM)
            .expect("a program")
            .try_into()
            .expect("XDP");
        xdp.load().unwrap_or_else(|error| panic!("{error:#?}"));
        program.fill(rules);
        program
    }

    fn fill(&mut self, rules: &Ruleset) {
        let map = self.ebpf.map_mut(decap::SETTINGS).expect("the map");
        let mut settings: Array<&mut MapData, [u8; 16]> = map.try_into().expect("its size");
        let value: [u8; 16] = rules.settings().as_bytes().try_into().expect("its size");
        settings.set(0, value, 0).expect("an index within the map");
        let map = self.ebpf.map_mut(decap::VIPS).expect("the map");
        let mut vips: HashMap<&mut MapData, [u8; 16], u32> = map.try_into().expect("its size");
        for vip in &rules.vips {
            let key = Address::from(*vip).0;
            vips.insert(key, 1, 0).expect("room for it");
        }
        let map = self.ebpf.map_mut(decap::SOURCES).expect("the map");
        let mut sources: LpmTrie<&mut MapData, [u8; 16], u32> = map.try_into().expect("its size");
        for (prefix, length) in &rules.sources {
            let key = Key::new(bits(*prefix, *length), Address::from(*prefix).0);
            sources.insert(&key, 1, 0).expect("room for it");
        }
    }

    /// Runs the program on a frame: XDP's action, and the frame afterwards.
    ///
    /// # Panics
    ///
    /// Where the kernel does not take the frame.
    #[must_use]
    pub fn run(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let program: &Xdp = self
            .ebpf
            .program(decap::PROGRAM)
            .expect("a program")
            .try_into()
            .expect("XDP");
        let mut out = vec![0; frame.len() + HEADROOM];
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ..TestRunOptions::default()
            })
            .expect("a test run");
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }

    /// Packets by outcome's number, summed over the CPUs.
    ///
    /// # Panics
    ///
    /// Where the map cannot be read.
    #[must_use]
    pub fn counters(&self) -> Vec<u64> {
        let map = self.ebpf.map(decap::COUNTERS).expect("the map");
        let map: PerCpuArray<&MapData, u64> = map.try_into().expect("its size");
        let sum = |index| map.get(&index, 0).expect("an index within the map");
        (0..OUTCOMES).map(|index| sum(index).iter().sum()).collect()
    }
}

/// XDP's action for an outcome.
#[must_use]
pub const fn action(outcome: Outcome) -> u32 {
    match outcome.fate() {
        Fate::Left | Fate::Taken => XDP_PASS,
        Fate::Dropped => XDP_DROP,
    }
}

/// Runs every case on both builds.
///
/// # Panics
///
/// With the sentences that do not hold, if there are any.
pub fn check(rules: &Ruleset, cases: &[Case]) {
    let program = Program::load(rules);
    let wrong: Vec<String> = cases
        .iter()
        .flat_map(|case| [in_host(rules, case), in_kernel(&program, case)])
        .flatten()
        .collect();
    let (count, all) = (wrong.len(), cases.len());
    assert!(
        wrong.is_empty(),
        "{count} of {all} cases:\n{}",
        wrong.join("\n")
    );
}

fn in_host(rules: &Ruleset, case: &Case) -> Option<String> {
    let (outcome, frame) = rules.run(&case.frame);
    let Case {
        sentence,
        outcome: expected,
        after,
        ..
    } = case;
    (outcome != *expected || frame != *after).then(|| {
        let difference = difference(&frame, after);
        format!("host: {sentence}:\n  {outcome:?}, expected {expected:?}; {difference}")
    })
}

fn in_kernel(program: &Program, case: &Case) -> Option<String> {
    let Case {
        sentence, outcome, ..
    } = case;
    let mut counters = program.counters();
    counters[outcome.index() as usize] += 1;
    let (found, frame) = program.run(&case.frame);
    let expected = action(*outcome);
    if found != expected || frame != case.after {
        let difference = difference(&frame, &case.after);
        return Some(format!(
            "kernel: {sentence}:\n  action {found}, expected {expected}; {difference}"
        ));
    }
    let after = program.counters();
    (after != counters)
        .then(|| format!("kernel: {sentence}:\n  counted {after:?}\n  expected {counters:?}"))
}
