//! Maps take the place of others while packets pass: larger ones, where a configuration needs them, or those
//! of this version's layout, where an earlier one left its own.
//!
//! 1. *Make.* The maps that must change are made in a folder beside the others ([`Pins::next`]); those that
//!    need not are pinned there once more. A program is loaded onto them, and must pass its self-test. They
//!    are filled with what the maps say. Until here nothing is different for packets, and what is wrong is
//!    undone; after a kill the next daemon removes the folder.
//! 2. *Commit.* The folder's `META` is written. From here on the next daemon goes on.
//! 3. *Switch.* The links are updated to the program, each from one packet to the next, and a grace period
//!    is waited for: nobody writes to the former maps any more.
//! 4. *Carry over.* What the data path wrote into the former maps since they were copied is brought into the
//!    new ones, so that doing it twice does no harm.
//! 5. *Advance.* The folder takes the place of the other by rename. The former maps end with their last pin.
//!
//! The daemon writes to no map meanwhile, so that only what the data path writes has to be carried over:
//!
//! | map | how nothing is lost |
//! |---|---|
//! | `STATS` | the new one begins at zero; in step 4 the sum of the former one is added to `CARRIED`, which is added to what is read |
//! | `TIMES`, `PATHS` | words that differ: the later one stays |
//! | `SIGNALS` | what was counted since it was copied is lost: ten seconds are looked back |
//! | `FLOWS` | `both` |
//! | `TRACKED`, `ATTEMPTS`, `FRAGMENTS`, `ALLOWANCE`, `REASONS` | always the same maps |
//!
//! A flow that is remembered must not be missed for a moment, nor may two flows be given the same place. So
//! before step 2 a program is swapped in that claims in both maps, and finds what is in either
//! ([`Feature::Growing`]); then all that the former map has is copied. It goes well with the program before,
//! which knows the former map only, and with the one after, which knows the new one only.

use lb_common::{
    counters::Traffic,
    maps::{CARRIED, Constants, FLOWS, Feature, META, Meta, STATS},
    path::Path,
    row::Times,
};

use super::{
    Dataplane, Error, clock,
    counted::Counted,
    layout, links,
    maps::{self, Maps},
    memory::{self, Mapped},
    pins::Pins,
    program::{PINNED, Program},
    sizes::Sizes,
    steps::{self, Step},
};
use crate::desired::{Installed, Region, Specialisation, StoreError};

impl Dataplane {
    /// Gives the maps these sizes, none of which is smaller, and runs a program that is specialised like
    /// this. `grown`: what they say then.
    ///
    /// # Errors
    /// Where the kernel refuses, for want of memory too. Then everything is as before.
    pub(super) fn grow(
        &mut self,
        sizes: &Sizes,
        grown: Installed,
        wanted: Specialisation,
    ) -> Result<(), Error> {
        let meta = Meta {
            sets: sizes.sets,
            constants: Constants {
                set_shift: u64::BITS - sizes.sets.ilog2(),
                ..wanted.constants(self.meta.constants)
            },
            program: 0,
            ..self.meta
        };
        let next = self.pins.next();
        let made = self.make(sizes, &grown, &meta);
        let switched = made.and_then(|program| {
            commit(&next, meta)?;
            switch(&self.pins, program)
        });
        if let Err(error) = switched {
            return Err(self.undone(error));
        }
        self.maps = Maps::open(&next)?;
        self.installed = grown;
        settle(&self.pins, self.time.clock().now)?;
        if self.sweeping.has_ended() {
            self.sweeping = self.sweeping.next();
        }
        self.meta.sets = meta.sets;
        self.note(meta.constants)?;
        tracing::info!(?sizes, "maps have grown");
        Ok(())
    }

    /// Step 1.
    fn make(&mut self, sizes: &Sizes, grown: &Installed, meta: &Meta) -> Result<Program, Error> {
        self.has_memory(sizes)?;
        let next = self.pins.next();
        next.remove_map_folder()?;
        let stays = |name: &str| self.maps.sizes().length_of(name) == sizes.length_of(name);
        share(&self.pins, stays)?;
        let program = Program::of(self.object, &next, sizes, meta.constants)?;
        steps::reach(Step::Made)?;
        fill(&self.pins, layout::same)?;
        let mut maps = Maps::open(&next)?;
        if sizes.sets != self.maps.sizes().sets {
            for way in grown.directory() {
                way.apply(&mut maps)?;
            }
        }
        steps::reach(Step::Filled)?;
        if self.maps.sizes().remember_flows() && sizes.flows != self.maps.sizes().flows {
            self.both(sizes)?;
        }
        Ok(program)
    }

    /// The kernel would rather end processes than refuse a map that the machine has no memory for.
    fn has_memory(&self, sizes: &Sizes) -> Result<(), Error> {
        let cpus = u32::try_from(self.maps.cpus()).unwrap_or(u32::MAX);
        let before = self.maps.sizes().list(cpus);
        let after = sizes.list(cpus);
        let grown = before
            .iter()
            .zip(&after)
            .filter(|(was, is)| was.entries != is.entries);
        let needs = grown.map(|(_, is)| is.bytes).sum();
        let available = memory::available().map_err(|source| Error::System {
            what: "ask how much memory is available",
            source,
        })?;
        if needs > available {
            return Err(Error::NoMemory { needs, available });
        }
        Ok(())
    }

    /// Lets flows be claimed in the next map as well, and copies those that there are.
    fn both(&mut self, sizes: &Sizes) -> Result<(), Error> {
        self.sweeping.end();
        let constants = Constants {
            features: self.meta.constants.features | Feature::Growing as u32,
            ..self.meta.constants
        };
        let program = Program::of(self.object, &self.pins, self.maps.sizes(), constants)?;
        self.run(program)?;
        steps::reach(Step::Both)?;
        let former = maps::flows(&self.pins, self.maps.sizes())?;
        maps::flows(&self.pins.next(), sizes)?.copy(&former)?;
        steps::reach(Step::Copied)
    }

    /// Goes back to what was before, where the links are not on their way yet.
    fn undone(&mut self, error: Error) -> Error {
        if steps::is_kill(&error) {
            return error;
        }
        let undo = || {
            links::update(&self.pins, &mut super::program::pinned(&self.pins)?)?;
            self.pins.next().remove_map_folder()
        };
        if let Err(another) = undo() {
            tracing::error!(error = %another, "cannot undo a growth of the maps");
        }
        if self.sweeping.has_ended() {
            // The program that runs is the one that claims in both maps.
            if let Err(another) = self.swap(self.meta.constants) {
                tracing::error!(error = %another, "cannot run the program from before the growth");
            }
            self.sweeping = self.sweeping.next();
        }
        error
    }
}

/// Goes on where a daemon was killed: the maps that are there for good afterwards.
///
/// # Errors
/// Where the kernel refuses; then the data path is as it was.
pub(super) fn resume(pins: &Pins) -> Result<(), Error> {
    pins.settle()?;
    let next = pins.next();
    if !next.maps().exists() {
        return Ok(());
    }
    let Some(layout::Found::Ours(meta)) = layout::read(&next)? else {
        return next.remove_map_folder();
    };
    let sizes = maps::read_sizes(&next)?;
    let program = Program::load(&next, &sizes, meta.constants)?;
    switch(pins, program)?;
    settle(pins, clock::told(&next)?)?;
    layout::note_own_program(pins, meta)
}

/// Makes maps of this layout of those of an earlier one, and has them take their place.
///
/// # Errors
/// Where the kernel refuses; then everything is as before.
pub(super) fn migrate(
    pins: &Pins,
    older: &layout::Older,
    sizes: &Sizes,
    meta: Meta,
) -> Result<(), Error> {
    let next = pins.next();
    let program = match make_of(pins, older, sizes, &meta) {
        Err(error) if !steps::is_kill(&error) => {
            next.remove_map_folder()?;
            return Err(error);
        }
        made => made?,
    };
    commit(&next, meta)?;
    switch(pins, program)?;
    settle(pins, clock::told(&next)?)?;
    layout::note_own_program(pins, meta)?;
    tracing::info!(
        from = older.version(),
        "maps of another layout were taken over"
    );
    Ok(())
}

/// Step 1.
fn make_of(
    pins: &Pins,
    older: &layout::Older,
    sizes: &Sizes,
    meta: &Meta,
) -> Result<Program, Error> {
    let next = pins.next();
    next.remove_map_folder()?;
    share(pins, |name| !older.changes(name))?;
    let program = Program::load(&next, sizes, meta.constants)?;
    steps::reach(Step::Made)?;
    fill(pins, |region, word| older.convert(region, word))?;
    steps::reach(Step::Filled)?;
    Ok(program)
}

/// Pins the maps that stay in the next folder as well.
fn share(pins: &Pins, stays: impl Fn(&str) -> bool) -> Result<(), Error> {
    let next = pins.next();
    next.make_map_folder()?;
    let stay = |name: &&str| **name != *META && stays(name);
    for name in PINNED.into_iter().filter(stay) {
        if pins.map(name).exists() {
            maps::share(pins, &next, name)?;
        }
    }
    steps::reach(Step::Shared)
}

/// Copies what memory-mapped maps say, but of the directory, into those that take their place.
fn fill(pins: &Pins, convert: impl Fn(Region, u64) -> u64) -> Result<(), Error> {
    let next = pins.next();
    let copied = |region: &Region| *region != Region::Directory;
    for region in Region::ALL.into_iter().filter(copied) {
        let Some((before, mut after)) = renewed(pins, &next, region)? else {
            continue;
        };
        for offset in before.offsets() {
            let word = before.load(offset).map(|word| convert(region, word));
            if let Some(word) = word.filter(|word| *word != 0) {
                let stored = after.store_u64(offset, word);
                stored.ok_or_else(|| outside(region, offset))?;
            }
        }
    }
    Ok(())
}

const fn outside(region: Region, offset: usize) -> StoreError {
    let map = region.name();
    StoreError::Outside { map, offset }
}

/// A region, and the one that takes its place; `None` where it stays, or is new.
fn renewed(pins: &Pins, next: &Pins, region: Region) -> Result<Option<(Mapped, Mapped)>, Error> {
    if !is_renewed(pins, next, region.name())? {
        return Ok(None);
    }
    let before = maps::region(pins, region)?;
    Ok(Some((before, maps::region(next, region)?)))
}

/// Whether another map takes the place of one that is there.
fn is_renewed(pins: &Pins, next: &Pins, name: &'static str) -> Result<bool, Error> {
    if !pins.map(name).exists() {
        return Ok(false);
    }
    Ok(maps::id(pins, name)? != maps::id(next, name)?)
}

/// Step 2.
fn commit(next: &Pins, meta: Meta) -> Result<(), Error> {
    maps::write_meta(next, meta)?;
    steps::reach(Step::Committed)
}

/// Step 3.
fn switch(pins: &Pins, mut program: Program) -> Result<(), Error> {
    program.keep_detours(pins)?;
    links::update(pins, program.xdp()?)?;
    steps::reach(Step::Switched)?;
    // Packets that are under way in the program before write to the former maps, and need its detours.
    memory::grace_period().map_err(|source| Error::System {
        what: "wait for packets that are under way (membarrier)",
        source,
    })?;
    program.pin(pins)?;
    steps::reach(Step::Pinned)
}

/// Steps 4 and 5.
fn settle(pins: &Pins, now: u32) -> Result<(), Error> {
    let next = pins.next();
    carry_traffic(pins, &next)?;
    later(pins, &next, Region::Times, |before, after| {
        later_times(before, after, now)
    })?;
    later(pins, &next, Region::Paths, later_path)?;
    if is_renewed(pins, &next, FLOWS)? {
        let former = maps::flows(pins, &maps::read_sizes(pins)?)?;
        maps::flows(&next, &maps::read_sizes(&next)?)?.refresh(&former)?;
    }
    steps::reach(Step::Carried)?;
    pins.advance()
}

/// What was counted before, of which nothing changes any more, in a map of its own: the new counters of a
/// CPU are that CPU's to change.
fn carry_traffic(pins: &Pins, next: &Pins) -> Result<(), Error> {
    if !is_renewed(pins, next, STATS)? {
        return Ok(());
    }
    let (former, mut counted) = (Counted::open(pins)?, Counted::open(next)?);
    for pair in 0..former.pairs() {
        let traffic = former.traffic(pair).map_err(Error::map(STATS))?;
        if traffic != Traffic::default() {
            counted.carry(pair, traffic).map_err(Error::map(CARRIED))?;
        }
    }
    Ok(())
}

/// Brings words of a renewed region that the data path has changed since they were copied into its place.
fn later(
    pins: &Pins,
    next: &Pins,
    region: Region,
    choose: impl Fn(u64, u64) -> u64,
) -> Result<(), Error> {
    let Some((before, after)) = renewed(pins, next, region)? else {
        return Ok(());
    };
    for offset in before.offsets() {
        let former = before.load(offset).unwrap_or(0);
        // The data path may be faster: then what it says is looked at again.
        while let Some(word) = after.load(offset) {
            let wanted = choose(former, word);
            if wanted == word || after.replace(offset, word, wanted) {
                break;
            }
        }
    }
    Ok(())
}

/// Of two rows' times, those of the later packets.
fn later_times(before: u64, after: u64, now: u32) -> u64 {
    let before: [Times; 2] = zerocopy::transmute!(before);
    let after: [Times; 2] = zerocopy::transmute!(after);
    let later = |before: Times, after: Times| {
        if before.quiet(now) < after.quiet(now) {
            let elsewhere = before.elsewhere;
            Times { elsewhere, ..after }
        } else {
            after
        }
    };
    let ([first, second], [other_first, other_second]) = (before, after);
    zerocopy::transmute!([later(first, other_first), later(second, other_second)])
}

/// Of two words about a path, the one that was learned later.
const fn later_path(before: u64, after: u64) -> u64 {
    if Path(before).learned() > Path(after).learned() {
        before
    } else {
        after
    }
}
