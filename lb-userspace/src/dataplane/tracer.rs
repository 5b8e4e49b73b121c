//! The programs once more, over the same maps, with a journal: what would become of a packet, step by step. Nothing is
//! sent, counted or remembered by it ([`lb_common::trace`]).

use std::path::PathBuf;

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, ProgramArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    Verdict,
    datapath::Detour,
    flow::{Flow, FlowKey},
    maps::{self, Constants, DETOURS, Feature, Globals},
    trace::{Event, JOURNAL, Journal, SHADOW},
};
use zerocopy::FromZeros as _;

use super::{error::Error, memory::MapValue, pins::Pins, program};
use crate::object::TRACE;

/// Maps that say what becomes of a packet, and that it does not change. All others are its own.
pub const SHARED: [&str; 12] = [
    maps::CONTROL,
    maps::DIRECTORY,
    maps::SLOTS,
    maps::TRACKED,
    maps::BACKENDS,
    maps::ROUTES,
    maps::INTERFACES,
    maps::RANGES,
    maps::POOLS,
    maps::PATHS,
    maps::FLOWS,
    maps::FRAGMENTS,
];

/// Bytes that a frame may grow by on its way.
const ROOM: usize = 256;

/// The programs that explain packets.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Tracer {
    object: Ebpf,
    constants: Constants,
    /// The kernel empties such an array when nobody holds it any more.
    _detours: ProgramArray<MapData>,
    journal: Array<MapData, MapValue<Journal>>,
    shadow: HashMap<MapData, MapValue<FlowKey>, MapValue<Flow>>,
}

/// What would become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// XDP's action.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// What was looked up on its way, and what each program came to.
    pub events: Vec<Event>,
}

/// What a tracer is loaded by, wherever that is done.
#[derive(Clone, Debug)]
pub struct TracerSource {
    pub(super) pins: Pins,
    pub(super) constants: Constants,
}

impl TracerSource {
    /// Loads the programs: that takes as long as to load them for packets.
    ///
    /// # Errors
    /// As of [`Tracer::of`].
    pub fn load(&self) -> Result<Tracer, Error> {
        Tracer::of(TRACE, self.constants, |name| {
            if name == maps::NEXT_FLOWS {
                self.pins.next().map(maps::FLOWS)
            } else {
                self.pins.map(name)
            }
        })
    }
}

impl Traced {
    /// The verdict; `None` where the programs came to none, or to more than can be told.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        Some(match *self.events.last()? {
            Event::Reason(number) => Verdict::of_reason(number),
            Event::Transmit => Verdict::Transmit,
            Event::Redirect(ifindex) => Verdict::Redirect(ifindex),
            _ => return None,
        })
    }
}

impl Tracer {
    /// Loads the programs of an object for these constants. `pin`: where a map is pinned.
    ///
    /// # Errors
    /// Where the kernel refuses a program, or a map is not there.
    pub fn of(
        object: &[u8],
        constants: Constants,
        pin: impl Fn(&str) -> PathBuf,
    ) -> Result<Self, Error> {
        let globals = Globals::of(constants);
        let mut loader = EbpfLoader::new();
        for (name, value) in globals.by_name() {
            loader.override_global(name, value, true);
        }
        for name in SHARED {
            loader.map_pin_path(name, pin(name));
        }
        if constants.features & Feature::Growing as u32 != 0 {
            loader.map_pin_path(maps::NEXT_FLOWS, pin(maps::NEXT_FLOWS));
        }
        let mut object = loader.load(object).map_err(Error::load)?;
        let detours = object.take_map(DETOURS).ok_or_else(|| missing(DETOURS))?;
        let mut detours = ProgramArray::try_from(detours).map_err(Error::map(DETOURS))?;
        for detour in Detour::ALL.into_iter().filter(|it| it.is_used(&constants)) {
            let program = xdp(&mut object, detour)?;
            program::load(program).map_err(Error::program)?;
            let fd = program.fd().map_err(Error::program)?;
            let set = detours.set(detour as u32, fd, 0);
            set.map_err(Error::map(DETOURS))?;
        }
        let journal = object.take_map(JOURNAL).ok_or_else(|| missing(JOURNAL))?;
        let shadow = object.take_map(SHADOW).ok_or_else(|| missing(SHADOW))?;
        Ok(Self {
            object,
            constants,
            _detours: detours,
            journal: journal.try_into().map_err(Error::map(JOURNAL))?,
            shadow: shadow.try_into().map_err(Error::map(SHADOW))?,
        })
    }

    /// What would become of a frame that comes in by the interface of this index.
    ///
    /// # Errors
    /// Where the kernel does not run the program.
    pub fn trace(&mut self, ingress: u32, frame: &[u8]) -> Result<Traced, Error> {
        let mut journal = Journal::new_zeroed();
        (journal.ingress, journal.room) = (ingress, self.room()?);
        let put = self.journal.set(0, MapValue(journal), 0);
        put.map_err(Error::map(JOURNAL))?;
        self.forget()?;
        let mut out = vec![0; frame.len() + ROOM];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let run = xdp(&mut self.object, Detour::Common)?.test_run(options);
        let run = run.map_err(Error::program)?;
        out.truncate(usize::try_from(run.data_size_out).unwrap_or(usize::MAX));
        let MapValue(journal) = self.journal.get(&0, 0).map_err(Error::map(JOURNAL))?;
        Ok(Traced {
            action: run.return_value,
            frame: out,
            events: journal.events().collect(),
        })
    }

    /// Flows that can be remembered yet: all are counted.
    fn room(&self) -> Result<u32, Error> {
        if !Detour::Flow.is_used(&self.constants) {
            return Ok(0);
        }
        let map = self.object.map(maps::FLOWS);
        let Some(Map::HashMap(data)) = map else {
            return Err(missing(maps::FLOWS));
        };
        let most = data.info().map_err(Error::map(maps::FLOWS))?.max_entries();
        let flows: HashMap<&MapData, MapValue<FlowKey>, MapValue<Flow>> = map
            .ok_or_else(|| missing(maps::FLOWS))?
            .try_into()
            .map_err(Error::map(maps::FLOWS))?;
        let used = u32::try_from(flows.keys().count()).unwrap_or(u32::MAX);
        Ok(most.saturating_sub(used))
    }

    /// Forgets the flows of the packet before.
    fn forget(&mut self) -> Result<(), Error> {
        let keys: Result<Vec<_>, _> = self.shadow.keys().collect();
        for key in keys.map_err(Error::map(SHADOW))? {
            self.shadow.remove(&key).map_err(Error::map(SHADOW))?;
        }
        Ok(())
    }
}

/// A program of the object: never the plain one, which is quicker and no other.
fn xdp(object: &mut Ebpf, detour: Detour) -> Result<&mut Xdp, Error> {
    let name = detour.name();
    let program = object.program_mut(name).ok_or_else(|| missing(name))?;
    program.try_into().map_err(Error::program)
}

fn missing(name: &str) -> Error {
    Error::Load {
        reason: format!("the object that explains packets has no {name}"),
    }
}
