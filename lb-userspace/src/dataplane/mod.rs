//! Programs, links and maps: load, pin, adopt, write, read.
//!
//! [`Dataplane`] is all that the daemon needs:
//!
//! 1. [`Dataplane::open`] adopts what an earlier daemon left pinned, or makes it.
//! 2. [`Dataplane::reconcile`] makes the maps say what is desired.
//! 3. [`Dataplane::attach`] puts the program onto the configured interfaces.
//!
//! It may be dropped, or its process killed, at any moment: the data path goes on.
//! [`Dataplane::detach`] ends it.

mod attached;
mod clock;
mod counted;
mod counters;
pub mod decap;
mod error;
mod flows;
mod layout;
mod links;
mod lock;
mod maps;
pub mod memory;
mod peering;
mod pins;
mod program;
mod renewal;
pub mod seeds;
pub mod sizes;
mod steps;
#[cfg(test)]
mod tests;
pub mod tracer;
mod tracked;
mod upkeep;

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use aya::util::KernelVersion;
use lb_common::maps::{Constants, LAYOUT_VERSION, Meta};
use zerocopy::FromZeros as _;

pub use attached::Mode;
pub use counters::{Counters, ServiceCounters};
pub use error::Error;
pub use flows::{Sweeper, Usage};
pub use links::Attachment;
pub use lock::Lock;
pub use pins::Pins;
pub use program::{OBJECT, digest, load};
pub use tracer::{Traced, Tracer, TracerSource};

use self::{
    clock::DataTime,
    flows::Sweeping,
    layout::Found,
    maps::Maps,
    peering::Peering,
    program::Program,
    seeds::Seeds,
    sizes::{Host, MapSize, Sizes},
    tracked::Looked,
};
use crate::{
    config::model::{Config, Interface, Vip},
    desired::{self, Change, Fit, Installed, Moment, Plan, Specialisation, State, Store as _},
    health::Health,
};

/// Where an instance's data plane lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder of the pins, on a BPF file system.
    pub pins: PathBuf,
    /// The file that a daemon holds locked.
    pub lock: PathBuf,
    /// Whether the pins may be in a mount namespace that ends with the daemon.
    pub ephemeral: bool,
}

/// What an earlier daemon left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// What its probes said; empty where there was none.
    pub health: BTreeMap<(Vip, SocketAddr), Health>,
    /// Whether maps were adopted.
    pub maps: bool,
    /// Why the program that an earlier version left goes on running, where this version's does not
    /// load.
    pub fallback: Option<String>,
}

/// What a reconciliation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Steps; 0: nothing differed.
    pub changes: usize,
    /// Rows of slot tables that changed hands.
    pub rows: usize,
}

/// The data plane of an instance.
#[derive(Debug)]
pub struct Dataplane {
    pins: Pins,
    maps: Maps,
    meta: Meta,
    installed: Installed,
    time: DataTime,
    usage: Usage,
    tracks: Looked,
    refused: Refused,
    rehashed: BTreeMap<Vip, u64>,
    /// Whose flows may come from another balancer, so that counters do not tell whether there are any.
    shared: HashSet<Vip>,
    /// Where there are other balancers.
    peering: Option<Peering>,
    sweeping: Sweeping,
    /// The object with the program: [`OBJECT`].
    object: &'static [u8],
    _lock: Lock,
}

/// Flows that found no place among the tracked ones: how many, and when the last one.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    count: u64,
    at: u32,
}

impl Dataplane {
    /// Adopts what is pinned, or makes and pins maps and program for a configuration (with its
    /// overrides). `remembered` seeds are used where neither pins nor file have others.
    ///
    /// Waits for a grace period: up to some 10 ms.
    ///
    /// # Errors
    /// Where another daemon runs, the pins cannot be where they should, the kernel refuses maps or
    /// program, or what is pinned cannot be adopted.
    pub fn open(
        settings: &Settings,
        config: &Config,
        remembered: Option<Seeds>,
    ) -> Result<(Self, Adopted), Error> {
        let lock = Lock::take(&settings.lock)?;
        let pins = Pins::new(&settings.pins);
        pins.create(settings.ephemeral)?;
        renewal::resume(&pins)?;
        match layout::read(&pins)? {
            Some(Found::Ours(meta)) => return Self::adopt(lock, pins, meta, config),
            Some(Found::Older(older)) => {
                check_seeds(&older.meta, config)?;
                let sizes = maps::read_sizes(&pins)?;
                let meta = older.meta(&sizes);
                renewal::migrate(&pins, &older, &sizes, meta)?;
                let meta = maps::read_meta(&pins)?;
                return Self::adopt(lock, pins, meta, config);
            }
            None => {}
        }
        // Debris of a daemon that was killed while it made the maps.
        pins.remove()?;
        pins.create(settings.ephemeral)?;
        let dataplane = Self::create(lock, pins, config, remembered)?;
        Ok((dataplane, Adopted::default()))
    }

    fn create(
        lock: Lock,
        pins: Pins,
        config: &Config,
        remembered: Option<Seeds>,
    ) -> Result<Self, Error> {
        let sizes = Sizes::of(config, host(config)?);
        let seeds = match (&config.hash_seed, remembered) {
            (Some(text), _) => Seeds::derive(text),
            (None, Some(seeds)) => seeds,
            (None, None) => Seeds::random().map_err(|source| Error::System {
                what: "get random bytes",
                source,
            })?,
        };
        let meta = meta(seeds, &sizes, config);
        let mut program = Program::load(&pins, &sizes, meta.constants)?;
        program.keep_detours(&pins)?;
        program.pin(&pins)?;
        let mut maps = Maps::open(&pins)?;
        let time = DataTime::resume(&mut maps)?;
        // Last: what has no word for the next daemon is debris.
        maps::write_meta(&pins, meta)?;
        Ok(Self {
            installed: Installed::empty(meta.seed, &sizes),
            pins,
            maps,
            meta,
            time,
            usage: Usage::default(),
            tracks: Looked::default(),
            refused: Refused::default(),
            rehashed: BTreeMap::new(),
            shared: HashSet::new(),
            peering: None,
            sweeping: Sweeping::default(),
            object: OBJECT,
            _lock: lock,
        })
    }

    fn adopt(
        lock: Lock,
        pins: Pins,
        meta: Meta,
        config: &Config,
    ) -> Result<(Self, Adopted), Error> {
        let mut maps = Maps::open(&pins)?;
        // The daemon before may have been killed before it could wait.
        maps.grace_period()?;
        let installed = desired::adopt(&maps, meta.seed, maps.sizes())?;
        let mut dataplane = Self {
            pins,
            meta,
            installed,
            time: DataTime::resume(&mut maps)?,
            maps,
            usage: Usage::default(),
            tracks: Looked::default(),
            refused: Refused::default(),
            rehashed: BTreeMap::new(),
            shared: HashSet::new(),
            peering: None,
            sweeping: Sweeping::default(),
            object: OBJECT,
            _lock: lock,
        };
        dataplane.check(config)?;
        // The daemon before may have been killed before it could.
        dataplane.lead_flows()?;
        let adopted = Adopted {
            health: dataplane.installed.health(),
            maps: true,
            fallback: dataplane.renew()?,
        };
        Ok((dataplane, adopted))
    }

    /// Replaces the program of another version by this one's; why not, where the one that runs has
    /// to go on.
    fn renew(&mut self) -> Result<Option<String>, Error> {
        let is_pinned = self.pins.program().exists();
        if is_pinned && self.meta.program == digest() {
            return Ok(None);
        }
        match self.swap(self.meta.constants) {
            Err(error @ (Error::Load { .. } | Error::SelfTest(_))) if is_pinned => {
                Ok(Some(error.to_string()))
            }
            other => other.map(|()| None),
        }
    }

    /// Whether a configuration can be taken over while this data path runs.
    ///
    /// # Errors
    /// Where it has another `hash_seed`.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        check_seeds(&self.meta, config)
    }

    /// From now on, flows of these services may come from another balancer: their slots keep their history
    /// whether packets went through this one or not.
    pub fn expect_flows_of(&mut self, services: HashSet<Vip>) {
        self.shared = services;
    }

    /// Makes the maps say what is desired. Where rows alone change, that is all that is stored;
    /// where something is freed, it waits for a grace period (some 10 ms) after forwarding is as
    /// desired. Maps that are too small grow first, without a gap in forwarding.
    ///
    /// # Errors
    /// Where the state fits into no maps, or there is no memory for them, then nothing is changed; or
    /// the kernel refuses.
    pub fn reconcile(&mut self, desired: &State) -> Result<Summary, Error> {
        // Flows count after a second that is over for the data path, too.
        self.tell_time()?;
        // Flows that went by another balancer alone may be this one's soon.
        let is_shared = self.peering.as_ref().is_some_and(Peering::is_complete);
        let moment = Moment {
            now: self.time.clock().now,
            tracks: self.tracks.tracks(),
            has_traffic: &|pair| {
                let vip = || self.installed.vip_of(pair);
                is_shared
                    || counters::has_traffic(&self.maps, pair)
                    || vip().is_some_and(|vip| self.shared.contains(&vip))
            },
        };
        let sizes = self.maps.sizes();
        let Fit { plan, growth } = desired::fit(&self.installed, desired, &moment, sizes)?;
        let before = Specialisation::of_program(&self.meta.constants);
        let specialisation = plan.specialisation;
        let on_the_way = specialisation.on_the_way_from(before);
        match growth {
            Some((sizes, grown)) => self.grow(&sizes, grown, on_the_way)?,
            None => self.specialise(on_the_way)?,
        }
        let leads_astray = plan.frees_entries;
        let summary = self.apply(plan)?;
        if leads_astray {
            self.lead_flows()?;
        }
        self.specialise(specialisation)?;
        self.take_parked()?;
        Ok(summary)
    }

    fn apply(&mut self, plan: Plan) -> Result<Summary, Error> {
        for change in &plan.changes {
            if let Err(error) = change.apply(&mut self.maps) {
                let sizes = self.maps.sizes();
                self.installed = desired::adopt(&self.maps, self.meta.seed, sizes)?;
                self.lead_flows()?;
                return Err(error.into());
            }
        }
        self.installed = plan.after;
        if let Some(peering) = &mut self.peering {
            peering.expect_rows();
        }
        if plan.ends_flows {
            self.time.advance(&mut self.maps)?;
        }
        Ok(Summary {
            changes: plan.changes.len(),
            rows: plan.changes.iter().map(moved_rows).sum(),
        })
    }

    /// Runs the program that is specialised like this.
    fn specialise(&mut self, wanted: Specialisation) -> Result<(), Error> {
        let constants = wanted.constants(self.meta.constants);
        if constants == self.meta.constants {
            return Ok(());
        }
        self.swap(constants)
    }

    /// Loads a program beside the one that runs, and lets the links run it from one packet to the
    /// next.
    fn swap(&mut self, constants: Constants) -> Result<(), Error> {
        let program = Program::of(self.object, &self.pins, self.maps.sizes(), constants)?;
        self.run(program)?;
        self.note(constants)
    }

    fn run(&mut self, mut program: Program) -> Result<(), Error> {
        program.keep_detours(&self.pins)?;
        // Killed from here on, nobody knows which program runs: the next daemon swaps once more.
        let unknown = Meta {
            program: 0,
            ..self.meta
        };
        maps::write_meta(&self.pins, unknown)?;
        links::update(&self.pins, program.xdp()?)?;
        // The program before may be under way with a packet, and needs its detours.
        self.maps.grace_period()?;
        program.pin(&self.pins)
    }

    /// Leaves word of the program that runs.
    fn note(&mut self, constants: Constants) -> Result<(), Error> {
        self.meta.constants = constants;
        self.meta.program = digest();
        maps::write_meta(&self.pins, self.meta)
    }

    /// Attaches the program to these interfaces, and takes it off all others.
    ///
    /// # Errors
    /// Where one does not exist, then nothing is changed; or the kernel refuses.
    pub fn attach(&self, interfaces: &[Interface]) -> Result<(), Error> {
        links::sync(&self.pins, interfaces)
    }

    /// The interfaces that run the program.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn interfaces(&self) -> Result<Vec<Attachment>, Error> {
        links::list(&self.pins)
    }

    /// What loads the programs that explain packets.
    #[must_use]
    pub fn tracer_source(&self) -> TracerSource {
        TracerSource {
            pins: self.pins.clone(),
            constants: self.meta.constants,
        }
    }

    /// All counters.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn counters(&self) -> Result<Counters, Error> {
        counters::read(&self.maps, &self.installed)
    }

    /// What the maps say: services with their tables' checksums and shares.
    #[must_use]
    pub const fn installed(&self) -> &Installed {
        &self.installed
    }

    /// Whether flows of rows that change are tracked.
    #[must_use]
    pub const fn tracks(&self) -> bool {
        self.maps.sizes().track_flows()
    }

    /// The maps with their sizes.
    #[must_use]
    pub fn maps(&self) -> Vec<MapSize> {
        let cpus = u32::try_from(self.maps.cpus()).unwrap_or(u32::MAX);
        self.maps.sizes().list(cpus)
    }

    /// The seeds in use, to remember them.
    #[must_use]
    pub const fn seeds(&self) -> Seeds {
        seeds_of(&self.meta)
    }

    /// Takes the program off every interface and removes program and maps: nothing is forwarded any
    /// more.
    ///
    /// # Errors
    /// Where a pin cannot be removed.
    pub fn detach(self) -> Result<(), Error> {
        remove(&self.pins)
    }
}

/// Does what [`Dataplane::detach`] does where no daemon runs, as the lock proves.
///
/// # Errors
/// Where a pin cannot be removed.
pub fn detach(pins: &Pins, _alone: &Lock) -> Result<(), Error> {
    remove(pins)
}

/// Takes the lock of an instance that no daemon looks after.
///
/// # Errors
/// Where a daemon runs, or the file cannot be made.
pub fn lock(path: &Path) -> Result<Lock, Error> {
    Lock::take(path)
}

/// Links first, so that the program is off its interfaces before anything that it needs is gone.
fn remove(pins: &Pins) -> Result<(), Error> {
    links::sync(pins, &[])?;
    pins.remove()
}

const fn seeds_of(meta: &Meta) -> Seeds {
    Seeds {
        hash_key: meta.hash_key,
        slots: meta.seed,
    }
}

fn check_seeds(meta: &Meta, config: &Config) -> Result<(), Error> {
    let wanted = config.hash_seed.as_deref().map(Seeds::derive);
    if wanted.is_some_and(|wanted| wanted != seeds_of(meta)) {
        return Err(Error::SeedChanged);
    }
    Ok(())
}

const fn moved_rows(change: &Change) -> usize {
    match change {
        Change::Rows { rows, .. } => rows.len(),
        _ => 0,
    }
}

fn host(config: &Config) -> Result<Host, Error> {
    let addresses = nix::ifaddrs::getifaddrs().map_err(|errno| Error::System {
        what: "list the host's addresses",
        source: errno.into(),
    })?;
    let mut highest_ifindex = 0;
    for interface in &config.interfaces {
        highest_ifindex = highest_ifindex.max(links::ifindex(&interface.name)?);
    }
    Ok(Host {
        tracks: tracks_flows(),
        addresses: u32::try_from(addresses.count()).unwrap_or(u32::MAX),
        highest_ifindex,
    })
}

/// Whether the kernel can track flows: compare and swap came with 5.12.
#[must_use]
pub fn tracks_flows() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(5, 12, 0))
}

fn meta(seeds: Seeds, sizes: &Sizes, config: &Config) -> Meta {
    let Seeds { hash_key, slots } = seeds;
    let unspecialised = Constants {
        hash_key,
        set_shift: u64::BITS - sizes.sets.ilog2(),
        fib: 1,
        bucket_mask: sizes.buckets - 1,
        ..Constants::new_zeroed()
    };
    Meta {
        layout_version: LAYOUT_VERSION,
        sets: sizes.sets,
        hash_key,
        seed: slots,
        constants: Specialisation::of(config, sizes.track_flows()).constants(unspecialised),
        program: digest(),
    }
}
