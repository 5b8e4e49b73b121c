//! Layouts of pinned maps: this version's, and those of earlier versions, which are taken over. One file for
//! each of the latter says what became different, and how what was there reads today.

mod v4;
mod v5;
mod v6;

use lb_common::maps::{LAYOUT_VERSION, META, Meta};

use super::{
    Error,
    maps::{self, write_meta},
    pins::Pins,
    program::digest,
    sizes::Sizes,
};
use crate::desired::{Region, Specialisation};

/// What a daemon left.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// Maps as this version makes them.
    Ours(Meta),
    /// Maps of an earlier version.
    Older(Older),
}

/// Maps of an earlier version that can be taken over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Older {
    /// What was left in `META`.
    pub(super) meta: Meta,
    rules: Rules,
}

/// How an earlier layout becomes this one.
#[derive(Clone, Copy, Debug)]
struct Rules {
    version: u32,
    /// Maps that have to be made anew; those that the version did not have are in any case.
    changes: &'static [&'static str],
    /// What a word of those reads like today.
    convert: fn(Region, u64) -> u64,
}

/// Every earlier layout that can be taken over.
const OLDER: [Rules; 3] = [v4::RULES, v5::RULES, v6::RULES];

/// A word of the same layout.
pub(super) const fn same(_region: Region, word: u64) -> u64 {
    word
}

/// What was left for the next daemon; `None` where there is nothing, or it did not come to its end.
///
/// # Errors
/// Where it cannot be read, or is of a version that cannot be taken over.
pub(super) fn read(pins: &Pins) -> Result<Option<Found>, Error> {
    if !pins.map(META).exists() {
        return Ok(None);
    }
    let meta = maps::read_meta(pins)?;
    let known = |rules: &&Rules| rules.version == meta.layout_version;
    match (meta.layout_version, OLDER.iter().find(known)) {
        (0, _) => Ok(None),
        (LAYOUT_VERSION, _) => Ok(Some(Found::Ours(meta))),
        (_, Some(&rules)) => Ok(Some(Found::Older(Older { meta, rules }))),
        (found, None) => Err(maps::other_layout(pins, found)),
    }
}

/// Has the next daemon find that this version's program runs on these maps.
pub(super) fn note_own_program(pins: &Pins, meta: Meta) -> Result<(), Error> {
    let program = digest();
    write_meta(pins, Meta { program, ..meta })
}

impl Older {
    /// Its number.
    pub(super) const fn version(&self) -> u32 {
        self.rules.version
    }

    /// Whether a map has to be made anew.
    pub(super) fn changes(&self, name: &str) -> bool {
        self.rules.changes.contains(&name)
    }

    /// What a word of a map that is made anew reads like in this layout.
    pub(super) fn convert(&self, region: Region, word: u64) -> u64 {
        (self.rules.convert)(region, word)
    }

    /// What the next daemon has to know of maps of these sizes in this layout; no program is said to run
    /// yet.
    pub(super) fn meta(&self, sizes: &Sizes) -> Meta {
        let mut constants = self.meta.constants;
        constants.bucket_mask = sizes.buckets - 1;
        let before = Specialisation::of_program(&constants);
        Meta {
            layout_version: LAYOUT_VERSION,
            constants: before.tracking(sizes.track_flows()).constants(constants),
            program: 0,
            ..self.meta
        }
    }
}
