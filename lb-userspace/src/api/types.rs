//! What daemon and command line say to each other: `xlb/v1`. Fields are only ever added.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    health::{Held, cause::Cause},
    slot_table::Part,
};

/// Name and version of the vocabulary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    /// Version 1.
    #[default]
    #[serde(rename = "xlb/v1")]
    V1,
}

/// The envelope of everything that comes in lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
pub struct List<T> {
    /// Always `xlb/v1`.
    pub schema: Schema,
    /// What the items are: `BackendList` and the like.
    pub kind: String,
    /// The items.
    pub items: Vec<T>,
}

impl<T: Item> List<T> {
    /// Puts items into their envelope.
    #[must_use]
    pub fn new(items: Vec<T>) -> Self {
        Self {
            schema: Schema::V1,
            kind: T::KIND.to_owned(),
            items,
        }
    }
}

/// What may stand in a [`List`].
pub trait Item {
    /// The list's `kind`.
    const KIND: &'static str;
}

impl Item for BackendItem {
    const KIND: &'static str = "BackendList";
}

impl Item for BackendDetail {
    const KIND: &'static str = "BackendDetailList";
}

impl Item for ServiceItem {
    const KIND: &'static str = "ServiceList";
}

impl Item for BackendSetup {
    const KIND: &'static str = "BackendSetupList";
}

impl Item for Changed {
    const KIND: &'static str = "ChangeList";
}

impl Item for Applied {
    const KIND: &'static str = "ApplyList";
}

/// What probes say of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// Its first probe has not ended.
    Unknown,
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// It takes flows.
    Ready,
    /// It takes no flows; probes go on.
    Drain,
    /// It takes no flows and is not probed.
    Maint,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ }) => {
        impl $type {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in tables, JSON and metrics.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

mod balancers;
mod detail;
mod event;
mod why;

pub use balancers::{
    AnnouncementItem, BalancerChanged, BalancerRequest, BalancerVerb, CountItem, PeerItem,
    PeersItem, VipItem,
};
pub use detail::{BackendDetail, ProbeItem};
pub use event::{EventItem, EventMessage, ReceiverItem};
pub use why::{TcpFlag, Why, WhyProtocol, WhyRequest, WhyStep};

words!(Health { Up = "up", Down = "down", Unknown = "unknown" });
words!(Admin { Ready = "ready", Drain = "drain", Maint = "maint" });

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendItem {
    /// Its service's name.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Where it listens; without a port where packets keep theirs.
    pub address: String,
    /// Forwarding mode.
    #[serde(default)]
    pub mode: String,
    /// Its weight, with overrides.
    pub weight: u16,
    /// It takes flows while backends of lower tiers are too few.
    #[serde(default)]
    pub tier: u8,
    /// Whether those are enough, so that it takes none.
    #[serde(default)]
    pub standby: bool,
    /// How much of that is in force.
    #[serde(flatten)]
    pub recovery: RecoveryItem,
    /// What probes say.
    pub state: Health,
    /// Why it is up although its probes fail, if that is so.
    #[serde(default)]
    pub held: Option<Held>,
    /// What the operator says.
    pub admin: Admin,
    /// Packets towards it.
    pub packets: u64,
    /// Their bytes, Ethernet headers included.
    pub bytes: u64,
    /// Packets of the way back.
    pub return_packets: u64,
    /// Their bytes.
    pub return_bytes: u64,
    /// Slots that it owns.
    pub slots: u32,
    /// Slots that it had before and whose older flows it still may have.
    #[serde(default)]
    pub leaving_slots: u32,
    /// About how many flows in those were seen in the last 15 seconds.
    #[serde(default)]
    pub flows_left: u64,
    /// Slots that it owns of all slots of its service, 0 to 1.
    pub share: f64,
    /// Full NAT: what its flows have as their source.
    #[serde(default)]
    pub places: Option<PlacesItem>,
    /// How the last probe ended, in words.
    pub last_probe: Option<String>,
    /// The way to it by the VIP, where that is probed.
    #[serde(default)]
    pub path: Option<PathItem>,
    /// What clients' packets show of it, where they are watched.
    #[serde(default)]
    pub passive: Option<PassiveItem>,
    /// What happened to it since the daemon started.
    #[serde(flatten)]
    pub events: BackendEvents,
    /// What was set by hand, if anything.
    #[serde(rename = "override")]
    pub overridden: Option<OverrideItem>,
}

/// The way to a backend by its VIP, as probes find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathItem {
    /// What they say.
    pub state: Health,
    /// Whether the backend takes no flows where it is down.
    pub ejects: bool,
    /// What is likely wrong, in a word.
    pub cause: Option<Cause>,
    /// The same in a sentence.
    pub likely: Option<String>,
    /// How the last one ended, in words.
    pub last_probe: Option<String>,
    /// Those that ended.
    pub probes: ProbeCounts,
}

/// What clients' packets show of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassiveItem {
    /// Connections that were begun, and watched.
    pub tried: u64,
    /// SYNs of those that came again.
    pub again: u64,
    /// Those that opened.
    pub opened: u64,
    /// RSTs of the backend, where its answers pass here.
    pub resets: u64,
    /// What is wrong, as it was when that was found.
    pub suspected: Option<String>,
    /// Seconds for which it gets no new flows yet, if that is so.
    pub ejected_for_seconds: Option<u64>,
}

/// How much of its weight a backend has that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryItem {
    /// Hundredths of the slots that are its own by its weight: fewer than 100 while its share grows.
    #[serde(default = "whole")]
    pub weight_percent: u8,
    /// Seconds until it takes all, while its share grows.
    #[serde(default)]
    pub grown_in_seconds: Option<u64>,
    /// What falling has brought it, where that is counted.
    #[serde(default)]
    pub damping: Option<DampingItem>,
    /// What it says itself, where it is asked.
    #[serde(default)]
    pub feedback: Option<FeedbackItem>,
}

/// What a backend says that it is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackItem {
    /// Whether that is done, or only shown.
    pub applied: bool,
    /// Hundredths of its weight, as it said last.
    pub advised_percent: Option<u8>,
    /// Hundredths of its weight that it is taken for.
    pub used_percent: u8,
    /// How often it said nothing that could be understood.
    pub invalid: u64,
}

/// What falling again and again has brought a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DampingItem {
    /// Its penalty as it is now; a fall adds 1,000.
    pub penalty: u32,
    /// Whether it is kept out.
    pub suppressed: bool,
    /// Seconds until it is taken back, if it does not fall again.
    pub reused_in_seconds: Option<u64>,
}

impl RecoveryItem {
    /// Whether a backend is kept out because it fell too often.
    #[must_use]
    pub fn is_suppressed(&self) -> bool {
        self.damping.is_some_and(|damping| damping.suppressed)
    }
}

const fn whole() -> u8 {
    Part::WHOLE.percent()
}

/// Places of a pool of full NAT, an address and a port each: each backend's flows have all of them to
/// themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacesItem {
    /// How many there are.
    pub total: u32,
    /// How many flows have as the daemon last counted, some seconds ago.
    pub used: u32,
}

/// What happened to a backend since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendEvents {
    /// Probes that ended.
    pub probes: ProbeCounts,
    /// Times that probes changed their mind about it.
    pub transitions: TransitionCounts,
}

/// Ends of probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeCounts {
    /// The backend answered.
    pub ok: u64,
    /// The backend, or the network, said no.
    pub failed: u64,
    /// Nothing came back in time.
    pub timeout: u64,
    /// This host could not ask.
    pub not_made: u64,
}

/// Changes of state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionCounts {
    /// It answers.
    pub up: u64,
    /// It does not.
    pub down: u64,
}

/// What was set by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideItem {
    /// What: `drain`, `weight 5`, `added` and the like.
    pub what: String,
    /// Seconds until it ends by itself.
    pub expires_in_seconds: Option<u64>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceItem {
    /// Its name.
    pub name: String,
    /// Address, port and protocol.
    pub vip: String,
    /// Forwarding mode.
    pub mode: String,
    /// Scheduler.
    pub scheduler: String,
    /// Whether a backend takes its flows.
    pub up: bool,
    /// Backends that take flows, or could and stand by.
    pub backends_up: u32,
    /// All its backends.
    pub backends_total: u32,
    /// The highest tier of backends that take flows.
    #[serde(default)]
    pub tier: u8,
    /// Slots of its table.
    pub slots: u32,
    /// Slots that changed hands and whose older flows go on elsewhere.
    #[serde(default)]
    pub moving_slots: u32,
    /// About how many flows were with backends that died and went to others, since the daemon started: those that
    /// sent within two seconds, an estimate.
    pub rehashed_flows: u64,
    /// Checksum of its slot table, hexadecimal: equal where tables are equal.
    pub table_checksum: String,
    /// Packets towards its backends.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets for it that were dropped.
    pub dropped_packets: u64,
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceItem {
    /// Its name.
    pub name: String,
    /// How: `native` or `generic`.
    pub mode: String,
    /// The kernel's number of the program.
    pub program_id: u32,
    /// What keeps it from working as it is set up, each with the command that mends it.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Flows that stay where they are while slots change hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackingItem {
    /// Whether the kernel can: if not, connections of slots that change hands break.
    pub supported: bool,
    /// Flows that are tracked now, as of the last look, some seconds ago.
    pub flows: u64,
    /// Flows that found a place since the maps were made.
    pub tracked_total: u64,
    /// Those that found none and stayed with the backend before.
    pub refused_total: u64,
}

/// A BPF map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapItem {
    /// Its name.
    pub name: String,
    /// Its length.
    pub entries: u32,
    /// Kernel memory.
    pub bytes: u64,
}

/// Packets that ended for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonItem {
    /// The reason's label.
    pub reason: String,
    /// Packets.
    pub packets: u64,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigItem {
    /// The file it was read from.
    pub path: String,
    /// Digest of its text, hexadecimal: equal where the texts are equal.
    pub digest: String,
    /// When it was applied, seconds since 1970.
    pub applied_at: u64,
    /// What `check` notes about it.
    pub notes: Vec<String>,
    /// Whether the last reload was applied.
    pub last_reload_successful: bool,
}

/// The whole instance at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Always `xlb/v1`.
    pub schema: Schema,
    /// Always `Status`.
    pub kind: String,
    /// The instance's name.
    pub instance: String,
    /// Version of the daemon.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Changes applied since the instance exists.
    pub revision: u64,
    /// Changes of the slot tables since the daemon started.
    pub generation: u64,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Whether it found a data path at its start and took it over.
    pub adopted: bool,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The configuration.
    pub config: ConfigItem,
    /// Interfaces.
    pub interfaces: Vec<InterfaceItem>,
    /// Services.
    pub services: Vec<ServiceItem>,
    /// Flows that stay where they are while slots change hands.
    #[serde(default)]
    pub tracking: TrackingItem,
    /// VIPs that routing software is to announce; `None`: the configuration has no `announce:`.
    #[serde(default)]
    pub announcement: Option<AnnouncementItem>,
    /// The other balancers.
    #[serde(default)]
    pub peers: PeersItem,
    /// Whom events are told to.
    #[serde(default)]
    pub notify: Vec<ReceiverItem>,
    /// BPF maps.
    pub maps: Vec<MapItem>,
    /// Packets that the data path answered itself, every reason.
    #[serde(default)]
    pub answers: Vec<ReasonItem>,
    /// Dropped packets, every reason.
    pub drops: Vec<ReasonItem>,
    /// Packets left to the kernel, every reason.
    pub passes: Vec<ReasonItem>,
}

impl Status {
    /// Whether every service is up with every backend, and routes of VIPs are as they should be.
    #[must_use]
    pub fn healthy(&self) -> bool {
        let mut services = self.services.iter();
        let announcement = self.announcement.as_ref();
        announcement.is_none_or(|announcement| announcement.problem.is_none())
            && services.all(|service| service.up && service.backends_up == service.backends_total)
    }
}

/// Everything there is to see, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The instance.
    pub status: Status,
    /// All backends of all services.
    pub backends: Vec<BackendItem>,
}

/// What a backend needs for its mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendSetup {
    /// Its service's name.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Where it listens; without a port where packets keep theirs.
    pub address: String,
    /// How packets reach it.
    pub mode: String,
    /// Lines for `sh -e` on the backend; those that begin with `#` are for people.
    pub commands: Vec<String>,
}

/// A change to one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRequest {
    /// The service's name.
    pub service: String,
    /// Name, address:port, or address if that is unique; for `add` the address:port.
    pub backend: String,
    /// What to do.
    #[serde(flatten)]
    pub verb: BackendVerb,
    /// Undone after so many seconds.
    #[serde(default)]
    pub for_seconds: Option<u64>,
    /// Do it also where it leaves the service without a backend.
    #[serde(default)]
    pub force: bool,
}

/// What to do with a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum BackendVerb {
    /// Add it.
    Add {
        /// Its name; the address as written without one.
        name: Option<String>,
        /// Its weight.
        weight: u16,
    },
    /// Take it out for good.
    Remove {
        /// Without waiting for its flows to end.
        #[serde(default)]
        now: bool,
    },
    /// Give it no flows; probes go on.
    Drain,
    /// Give it flows.
    Ready,
    /// Give it no flows and do not probe it.
    Maint,
    /// Forget what was set by hand.
    Reset,
    /// Set its weight.
    Weight {
        /// 0 to 1,000; 0 takes no flows.
        weight: u16,
    },
}

impl BackendVerb {
    /// Whether the flows of the backend stay where they are.
    #[must_use]
    pub const fn keeps_flows(&self) -> bool {
        !matches!(self, Self::Maint | Self::Remove { now: true })
    }

    /// The word on the command line.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Add { .. } => "add",
            Self::Remove { .. } => "remove",
            Self::Drain => "drain",
            Self::Ready => "ready",
            Self::Maint => "maint",
            Self::Reset => "reset",
            Self::Weight { .. } => "weight",
        }
    }
}

/// What a [`BackendRequest`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The service.
    pub service: String,
    /// The backend's name.
    pub backend: String,
    /// What was done.
    pub verb: String,
    /// Whether that made a difference.
    pub changed: bool,
    /// The revision in force.
    pub revision: u64,
    /// Slots of the service that got another owner.
    pub slots_moved: u32,
    /// Slots of the service.
    pub slots: u32,
    /// Whether the flows in these slots stay where they are; else they are cut.
    #[serde(default)]
    pub keeps_flows: bool,
    /// Seconds until it is undone by itself.
    pub expires_in_seconds: Option<u64>,
    /// Words after `xlb` that undo it.
    pub undo: Option<Vec<String>>,
}

/// A configuration to apply; without a source the daemon reads its own file again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// The configuration.
    #[serde(default)]
    pub source: Option<Source>,
}

/// A configuration's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it was read.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// What an [`ApplyRequest`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Where the configuration was read.
    pub path: String,
    /// Whether it differed from the one in force.
    pub changed: bool,
    /// The revision in force.
    pub revision: u64,
    /// Slots of all services that got another owner.
    pub slots_moved: u32,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// What `check` notes about it.
    pub notes: Vec<String>,
}

/// What `detach` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Interfaces that the program was taken from.
    pub interfaces: Vec<String>,
    /// VIPs that were announced until then.
    #[serde(default)]
    pub withdrawn: Vec<IpAddr>,
}

impl Item for Detached {
    const KIND: &'static str = "DetachList";
}
