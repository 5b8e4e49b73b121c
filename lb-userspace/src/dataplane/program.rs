//! The XDP program: embedded in this binary, loaded beside the pinned maps, tested, pinned.

use std::{fs, io};

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, ProgramArray},
    programs::{ProgramError, TestRun as _, TestRunOptions, Xdp},
};
use aya_obj::programs::XdpAttachType;
use lb_common::{
    datapath::Detour,
    maps::{self, Constants, DETOURS, Feature, Globals},
};
use sha2::{Digest as _, Sha256};

use super::{
    error::Error,
    pins::{self, Pins},
    sizes::Sizes,
};
use crate::desired::Region;
pub use crate::object::OBJECT;

/// The maps that are pinned: not a program's constants, nor what its parts tell each other.
pub(super) const PINNED: [&str; 21] = [
    maps::CONTROL,
    maps::DIRECTORY,
    maps::SLOTS,
    maps::TIMES,
    maps::TRACKED,
    maps::ORIGINS,
    maps::BACKENDS,
    maps::ROUTES,
    maps::INTERFACES,
    maps::RANGES,
    maps::POOLS,
    maps::PATHS,
    maps::ATTEMPTS,
    maps::SIGNALS,
    maps::FLOWS,
    maps::FRAGMENTS,
    maps::ALLOWANCE,
    maps::STATS,
    maps::CARRIED,
    maps::REASONS,
    maps::META,
];

/// The first eight bytes of the object's SHA-256: tells programs apart.
#[must_use]
pub fn digest() -> u64 {
    let digest = Sha256::digest(OBJECT);
    digest.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// A loaded program that passed its self-test.
pub(super) struct Program {
    object: Ebpf,
    constants: Constants,
    /// The array that [`Detour`]s are found in, until it is pinned.
    detours: Option<ProgramArray<MapData>>,
}

impl Program {
    /// Loads the program onto the pinned maps; those that are missing are made in these sizes.
    ///
    /// # Errors
    /// Where the kernel refuses the maps or the program, or the program fails its self-test.
    pub(super) fn load(pins: &Pins, sizes: &Sizes, constants: Constants) -> Result<Self, Error> {
        Self::of(OBJECT, pins, sizes, constants)
    }

    /// The same of another object.
    pub(super) fn of(
        object: &[u8],
        pins: &Pins,
        sizes: &Sizes,
        constants: Constants,
    ) -> Result<Self, Error> {
        let globals = Globals::of(constants);
        let mut loader = EbpfLoader::new();
        for (name, value) in globals.by_name() {
            loader.override_global(name, value, true);
        }
        // The length of the routes is the program's own.
        for region in Region::ALL
            .into_iter()
            .filter(|region| *region != Region::Routes)
        {
            loader.map_max_entries(region.name(), sizes.entries(region));
        }
        loader.map_max_entries(maps::STATS, sizes.backends);
        loader.map_max_entries(maps::CARRIED, sizes.backends);
        loader.map_max_entries(maps::FLOWS, sizes.flows);
        for name in PINNED {
            loader.map_pin_path(name, pins.map(name));
        }
        let next = pins.next();
        if constants.features & Feature::Growing as u32 != 0 {
            loader.map_pin_path(maps::NEXT_FLOWS, next.map(maps::FLOWS));
        }
        let object = loader.load(object).map_err(Error::load)?;
        let used = |detour: &Detour| detour.is_used(&constants);
        let parts: Vec<Detour> = Detour::ALL.into_iter().filter(used).collect();
        let mut program = Self {
            object,
            constants,
            detours: None,
        };
        for &detour in &parts {
            load(program.program(detour)?).map_err(Error::program)?;
        }
        self_test(program.xdp()?)?;
        program.set_detours(&parts)?;
        Ok(program)
    }

    /// The program, to attach it.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, Error> {
        self.program(Detour::Common)
    }

    fn program(&mut self, detour: Detour) -> Result<&mut Xdp, Error> {
        let name = detour.program(&self.constants);
        let program = self.object.program_mut(name);
        let program = program.ok_or_else(|| Error::Load {
            reason: format!("the object has no program {name}"),
        })?;
        program.try_into().map_err(Error::program)
    }

    /// Names the programs that a packet may take its way through. The array is this program's own.
    fn set_detours(&mut self, parts: &[Detour]) -> Result<(), Error> {
        let map = self.object.take_map(DETOURS);
        let map = map.ok_or_else(|| Error::Load {
            reason: format!("the object has no map {DETOURS}"),
        })?;
        let mut detours = ProgramArray::try_from(map).map_err(Error::map(DETOURS))?;
        for &detour in parts {
            let fd = self.program(detour)?.fd().map_err(Error::program)?;
            let set = detours.set(detour as u32, fd, 0);
            set.map_err(Error::map(DETOURS))?;
        }
        self.detours = Some(detours);
        Ok(())
    }

    /// Pins the array of detours under a name of its own: the kernel empties one that no process and no
    /// pin holds. To be called before the program gets packets.
    ///
    /// # Errors
    /// Where the pin cannot be made.
    pub(super) fn keep_detours(&mut self, pins: &Pins) -> Result<(), Error> {
        let path = pins.detours(self.id()?);
        pins::remove_file(&path)?;
        match self.detours.take().map(|detours| detours.pin(&path)) {
            Some(Err(source)) => Err(Error::Pin { path, source }),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Pins the program in the place of the one before, whose array of detours ends with it.
    ///
    /// # Errors
    /// Where the pin cannot be made.
    pub(super) fn pin(&mut self, pins: &Pins) -> Result<(), Error> {
        let id = self.id()?;
        pin(self.xdp()?, pins)?;
        pins.remove_detours_but(id)
    }

    fn id(&mut self) -> Result<u32, Error> {
        let info = self.xdp()?.info().map_err(Error::program)?;
        Ok(info.id())
    }
}

/// Loads a program. A signal for this thread makes the verifier give up: then it is asked again, as often as
/// libbpf does (`PROG_LOAD_ATTEMPTS`).
///
/// # Errors
/// Where the kernel refuses it.
pub fn load(program: &mut Xdp) -> Result<(), ProgramError> {
    const ATTEMPTS: usize = 5;
    for _ in 1..ATTEMPTS {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
    program.load()
}

/// Pins a program in the place of the one before.
///
/// # Errors
/// Where the pin cannot be made.
pub(super) fn pin(program: &mut Xdp, pins: &Pins) -> Result<(), Error> {
    let (next, path) = (pins.next_program(), pins.program());
    pins::remove_file(&next)?;
    program.pin(&next).map_err(|source| Error::Pin {
        path: next.clone(),
        source,
    })?;
    fs::rename(next, &path).map_err(Error::file("put in its place", path))
}

/// A frame that is not IP must be left to the kernel.
///
/// # Errors
/// Where it is not, or the program cannot be run.
pub(super) fn self_test(program: &Xdp) -> Result<(), Error> {
    const XDP_PASS: u32 = 2;
    // IEEE 802, local experimental EtherType 1.
    let header = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xb5];
    let frame = [header.as_slice(), &[0; 50]].concat();
    let mut options = TestRunOptions::new();
    options.data_in = Some(&frame);
    let run = program.test_run(options).map_err(Error::program)?;
    if run.return_value == XDP_PASS {
        return Ok(());
    }
    let verdict = run.return_value;
    Err(Error::SelfTest(format!(
        "verdict {verdict} for a frame that is not IP, expected {XDP_PASS} (pass)"
    )))
}

/// The pinned program.
///
/// # Errors
/// Where it cannot be opened.
pub(super) fn pinned(pins: &Pins) -> Result<Xdp, Error> {
    Xdp::from_pin(pins.program(), XdpAttachType::Interface).map_err(Error::program)
}
