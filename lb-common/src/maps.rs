//! The BPF maps: names, and who writes and reads them.
//!
//! | map | kind | value | writer | reader |
//! |---|---|---|---|---|
//! | `CONTROL` | array, memory-mapped | [`Control`] | daemon | data path |
//! | `DIRECTORY` | array, memory-mapped | [`directory::Set`](crate::directory::Set) | daemon | data path |
//! | `SLOTS` | array, memory-mapped | [`ROWS_PER_ELEMENT`](crate::row::ROWS_PER_ELEMENT) [`Row`](crate::row::Row)s | daemon | data path |
//! | `BACKENDS` | array, memory-mapped | [`Backend`](crate::backend::Backend) | daemon | data path |
//! | `ROUTES` | array, memory-mapped | [`Routes`](crate::route::Routes) | daemon | data path |
//! | `INTERFACES` | array, memory-mapped | [`Interface`](crate::interface::Interface) | daemon | data path |
//! | `RANGES` | array, memory-mapped | [`Ranges`](crate::range::Ranges) | daemon | data path |
//! | `POOLS` | array, memory-mapped | [`Pool`](crate::pool::Pool) | daemon | data path |
//! | `PATHS` | array, memory-mapped | [`Path`](crate::path::Path) | data path, daemon | data path |
//! | `TIMES` | array, memory-mapped | as `SLOTS`, [`Times`](crate::row::Times) | daemon, data path | daemon |
//! | `TRACKED` | array, memory-mapped | [`Bucket`](crate::tracked::Bucket) | data path; the daemon clears | data path |
//! | `ORIGINS` | array, memory-mapped | [`ENTRIES`](crate::tracked::ENTRIES) [`Origin`](crate::tracked::Origin)s | data path, daemon | daemon |
//! | `ATTEMPTS` | array | [`Attempt`](crate::attempt::Attempt) | data path | data path |
//! | `SIGNALS` | array, memory-mapped | [`Signals`](crate::counters::Signals) | data path | daemon |
//! | `FLOWS` | hash | [`FlowKey`](crate::flow::FlowKey) → [`Flow`](crate::flow::Flow) | data path; the daemon takes out | data path |
//! | `NEXT_FLOWS` | hash | as `FLOWS`, while that grows | data path, daemon | data path |
//! | `FRAGMENTS` | LRU hash | [`FragmentKey`](crate::fragment::FragmentKey) → [`Fragment`](crate::fragment::Fragment) | data path | data path |
//! | `ALLOWANCE` | per-CPU array | [`Allowance`](crate::counters::Allowance) | data path | data path |
//! | `NOTE` | per-CPU array | [`Note`](crate::datapath::Note) | data path | data path, in the next program |
//! | `QUESTION` | per-CPU array | [`Question`](crate::datapath::Question) | data path | data path, in the next program |
//! | `DRAFT` | per-CPU array | [`Draft`](crate::datapath::Draft) | data path | data path |
//! | `DETOURS` | programs | the programs of [`Detour`](crate::datapath::Detour)s | daemon | data path |
//! | `STATS` | per-CPU array | [`Traffic`](crate::counters::Traffic) | data path | daemon |
//! | `CARRIED` | array | [`Traffic`](crate::counters::Traffic) | daemon | daemon |
//! | `REASONS` | per-CPU array | `u64`, packets | data path | daemon |
//! | `META` | array | [`Meta`] | daemon | the next daemon |
//!
//! Sizes come from the configuration, at twice of what it needs.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{backend::Mode, directory::Filter};

/// Control words.
pub const CONTROL: &str = "CONTROL";
/// Services, NAT backends and addresses.
pub const DIRECTORY: &str = "DIRECTORY";
/// Slot tables.
pub const SLOTS: &str = "SLOTS";
/// Times of the rows in `SLOTS`.
pub const TIMES: &str = "TIMES";
/// Flows of moving rows.
pub const TRACKED: &str = "TRACKED";
/// Hashes and services of flows in `TRACKED`.
pub const ORIGINS: &str = "ORIGINS";
/// Backends of services.
pub const BACKENDS: &str = "BACKENDS";
/// Routes to clients.
pub const ROUTES: &str = "ROUTES";
/// Interfaces the program is attached to.
pub const INTERFACES: &str = "INTERFACES";
/// Services and NAT backends on several ports.
pub const RANGES: &str = "RANGES";
/// Source addresses and ports of full NAT.
pub const POOLS: &str = "POOLS";
/// Path MTUs of tunnels.
pub const PATHS: &str = "PATHS";
/// Connections on their way to be opened.
pub const ATTEMPTS: &str = "ATTEMPTS";
/// What packets show of backends.
pub const SIGNALS: &str = "SIGNALS";
/// Remembered flows.
pub const FLOWS: &str = "FLOWS";
/// The map that is about to take the place of `FLOWS`.
pub const NEXT_FLOWS: &str = "NEXT_FLOWS";
/// Traffic of pairs that was counted in smaller maps before.
pub const CARRIED: &str = "CARRIED";
/// Packets in fragments.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// ICMP messages that may be made yet.
pub const ALLOWANCE: &str = "ALLOWANCE";
/// Where a flow is put together.
pub const DRAFT: &str = "DRAFT";
/// What one program tells the next.
pub const NOTE: &str = "NOTE";
/// Programs for packets off the common path.
pub const DETOURS: &str = "DETOURS";
/// Traffic of pairs.
pub const STATS: &str = "STATS";
/// Packets of reasons.
pub const REASONS: &str = "REASONS";
/// What the next daemon must know.
pub const META: &str = "META";

/// Name of the XDP program.
pub const PROGRAM: &str = "xlb";
/// The same for configurations that use nothing out of the ordinary ([`Constants::are_plain`]).
pub const PLAIN_PROGRAM: &str = "xlb_plain";

/// The one value of `CONTROL`: words that switch between prepared tables, each by one store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Control {
    /// A [`directory::Seed`](crate::directory::Seed): seed and half of the directory.
    pub directory: u64,
    /// Half of `ROUTES` in use: 0 or 1.
    pub routes: u64,
    /// A hint, [`directory::Front`](crate::directory::Front): the way in `DIRECTORY` that is looked at
    /// before a packet's own set, and before the filter. The CPU predicts the comparison and goes on with what
    /// that way says. Any number is right.
    pub front: u64,
    /// Seconds since the system started, as the daemon last said: it does so every second. Without a
    /// daemon time stands still, and nothing that was idle is taken out. Never 0 once it was written.
    pub clock: u64,
    /// The addresses in the directory.
    pub addresses: Filter,
}

/// Version of everything in this crate that lies in a map. A daemon adopts maps of its own version.
pub const LAYOUT_VERSION: u32 = 7;

/// The one value of `META`: what a daemon that finds the pins must know to adopt them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Meta {
    /// [`LAYOUT_VERSION`] of who wrote it.
    pub layout_version: u32,
    /// Sets in one half of `DIRECTORY`.
    pub sets: u32,
    /// The flow hash's key.
    pub hash_key: [u64; 2],
    /// Seed of the slot tables.
    pub seed: u64,
    /// The loaded program's constants, [`Constants`].
    pub constants: Constants,
    /// SHA-like digest of the embedded object (its first eight bytes), to tell programs apart.
    pub program: u64,
}

/// Read-only constants of the program, set before it is loaded: the verifier removes what they
/// switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Constants {
    /// Key of the flow hash.
    pub hash_key: [u64; 2],
    /// 64 less the logarithm of the sets in one half of `DIRECTORY`, which are a power of two.
    pub set_shift: u32,
    /// 1 where a service has an IPv6 VIP, else 0.
    pub ipv6: u16,
    /// Index of the interface that probes of the path come in by. This field and the other one of them are in what was
    /// the upper half of the one before, which was zero.
    pub probe_link: u16,
    /// 1 where a service has an IPv4 VIP, else 0.
    pub ipv4: u16,
    /// The port of such probes that names pair 0; 0: there are none.
    pub probe_port: u16,
    /// 1 where the FIB helper may be asked, else 0.
    pub fib: u32,
    /// Modes that backends have: [`Mode::bit`](crate::backend::Mode::bit)s.
    pub modes: u32,
    /// What else the configuration uses: [`Feature`]s' bits.
    pub features: u32,
    /// ICMP messages that each CPU may make in a second.
    pub icmp_rate: u32,
    /// Buckets of `TRACKED`, a power of two, less one.
    pub bucket_mask: u32,
}

impl Constants {
    /// Whether packets want only what the plain program does ([`PLAIN_PROGRAM`]).
    #[must_use]
    pub const fn are_plain(&self) -> bool {
        self.features & Feature::NOT_PLAIN == 0
            && self.modes & Mode::NOT_PLAIN == 0
            && self.probe_port == 0
    }
}

/// What the program is told before it is loaded.
#[derive(Debug)]
pub struct Globals {
    constants: Constants,
    only_mode: u8,
}

impl Globals {
    /// These constants, and what follows from them.
    #[must_use]
    pub fn of(constants: Constants) -> Self {
        let only_mode = Mode::only(constants.modes);
        Self {
            constants,
            only_mode,
        }
    }

    /// The bytes of each, by the name that the object has for it.
    #[must_use]
    pub fn by_name(&self) -> [(&'static str, &[u8]); 2] {
        [
            ("CONSTANTS", self.constants.as_bytes()),
            ("ONLY_MODE", self.only_mode.as_bytes()),
        ]
    }
}

/// What a configuration may use or not: bits of [`Constants::features`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Feature {
    /// Services on port ranges or all ports.
    Ranges = 1,
    /// Echo requests to a VIP are answered.
    Echo = 2,
    /// The TCP segment size of SYNs is clamped.
    Mss = 4,
    /// NAT backends that several services share.
    Shared = 8,
    /// Flows of moving rows are tracked: the kernel can compare and swap (5.12).
    Tracking = 16,
    /// Services whose clients stay with one backend, whatever their ports.
    Affinity = 32,
    /// Services over QUIC, whose packets say what opens a connection.
    Quic = 64,
    /// Backends hand packets of connections that they do not know to another one, which GUE's header names.
    SecondChance = 128,
    /// Services that refuse clients while no backend takes them.
    Refusal = 256,
    /// Services whose backends are watched by what packets show.
    Signals = 512,
    /// `FLOWS` is about to be replaced by a larger map, `NEXT_FLOWS`: what is claimed stands in both.
    Growing = 1 << 31,
}

impl Feature {
    /// What the plain program leaves out: each costs packets some instructions to find out that it is not used.
    pub const NOT_PLAIN: u32 = Self::Ranges as u32
        | Self::Mss as u32
        | Self::Shared as u32
        | Self::Affinity as u32
        | Self::Quic as u32
        | Self::SecondChance as u32
        | Self::Signals as u32;
}
