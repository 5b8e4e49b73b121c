//! Maps that are too small for what is desired: how large they must be. Pure, as the plan is.

use super::{
    change::Change,
    diff::{Plan, Refused, plan},
    installed::Installed,
    leaving::{Moment, with_leaving},
    state::State,
    store::Region,
};
use crate::dataplane::sizes::Sizes;

/// A plan, and what it needs of the maps.
#[derive(Clone, Debug)]
pub struct Fit {
    /// From maps of these sizes to what is desired.
    pub plan: Plan,
    /// Larger sizes than the maps have, and what they say in such maps.
    pub growth: Option<(Sizes, Installed)>,
}

/// Works out how to get from `installed`, in maps of these sizes, to `desired`, in larger ones where it
/// does not fit.
///
/// # Errors
/// Where it does not fit into maps of any size.
pub fn fit(
    installed: &Installed,
    desired: &State,
    moment: &Moment<'_>,
    sizes: &Sizes,
) -> Result<Fit, Refused> {
    let desired = &with_leaving(installed, desired, moment.tracks);
    let mut wanted = sizes.at_least(desired);
    loop {
        let grown = (wanted != *sizes).then(|| installed.in_maps_of(&wanted));
        match plan(grown.as_ref().unwrap_or(installed), desired, moment) {
            Ok(plan) => {
                let growth = grown.map(|grown| (wanted, grown));
                return Ok(Fit { plan, growth });
            }
            Err(Refused::Outgrown { map, needs, has }) => {
                let refused = Refused::Outgrown { map, needs, has };
                wanted = wanted.with_room(map, needs).ok_or(refused)?;
            }
            Err(refused) => return Err(refused),
        }
    }
}

impl Installed {
    /// The same in maps of other sizes, none smaller: everything stands where it stood, but that the
    /// directory's sets are others.
    #[must_use]
    pub fn in_maps_of(&self, sizes: &Sizes) -> Self {
        let mut grown = self.clone();
        grown.directory = self.directory.with_sets(sizes.sets);
        grown.extents.grow(sizes.backends);
        grown.elements.grow(sizes.elements);
        grown.interface_capacity = sizes.interfaces;
        grown.list_elements.grow(sizes.lists);
        grown.pools.grow(sizes.pools);
        grown.paths.grow(sizes.paths);
        grown
    }

    /// The stores that fill an empty directory with what it says.
    pub fn directory(&self) -> impl Iterator<Item = Change> {
        self.directory.enter()
    }
}

impl Sizes {
    /// Room for at least so many entries of a map, and for more: a power of two. `None` where the map
    /// cannot have as many.
    #[must_use]
    fn with_room(mut self, map: &'static str, needs: u64) -> Option<Self> {
        let region = Region::ALL.into_iter().find(|it| it.name() == map)?;
        let (length, most) = self.length(region)?;
        let least = u64::from(*length) + 1;
        let next = needs.max(least).next_power_of_two();
        *length = u32::try_from(next).ok().filter(|next| *next <= most)?;
        Some(self)
    }

    /// The length that says how long a region is, and the most that it can be.
    const fn length(&mut self, region: Region) -> Option<(&mut u32, u32)> {
        /// An entry is named by 32 bits; the kernel has arrays of at most 2 GiB to map into memory.
        const MOST_BACKENDS: u32 = 1 << 24;
        /// What a table's word can name.
        const MOST_ELEMENTS: u32 = 1 << 24;
        const MOST_INTERFACES: u32 = 1 << 24;
        const MOST_SETS: u32 = 1 << 22;
        const MOST_LISTS: u32 = 1 << 20;
        /// Named by 16 bits.
        const MOST_INDICES: u32 = 1 << 16;
        Some(match region {
            Region::Directory => (&mut self.sets, MOST_SETS),
            Region::Slots => (&mut self.elements, MOST_ELEMENTS),
            Region::Backends => (&mut self.backends, MOST_BACKENDS),
            Region::Interfaces => (&mut self.interfaces, MOST_INTERFACES),
            Region::Ranges => (&mut self.lists, MOST_LISTS),
            Region::Pools => (&mut self.pools, MOST_INDICES),
            Region::Paths => (&mut self.paths, MOST_INDICES),
            Region::Control
            | Region::Times
            | Region::Tracked
            | Region::Origins
            | Region::Routes
            | Region::Signals => return None,
        })
    }
}
