//! Model, overrides, health and the host's network → what the maps must say; and the difference to
//! what they say.
//!
//! ```text
//! config ─► overrides::Effective ─► build ─► State ─┐
//!                                                   ├─► diff ─► [Change] ─► Store
//!                            Installed ◄─ adopted ──┘
//! ```
//!
//! * [`State`] knows neither indices nor maps; [`Installed`] knows where everything is.
//! * [`diff`] is pure: it returns the steps and what is installed after them.
//! * A [`Change`] is a few stores into a [`Store`]: the kernel's maps, or plain memory in the tests of
//!   the laws.

mod adopt;
pub mod alloc;
pub mod announcement;
mod build;
mod change;
mod claims;
mod diff;
mod entry;
mod flow_owners;
mod growth;
mod host;
mod indexed;
mod installed;
#[cfg(test)]
mod laws;
mod leaving;
mod lists;
pub mod overrides;
pub mod peering;
mod placement;
pub mod quorum;
#[cfg(test)]
mod ram;
mod rest;
mod routes;
mod services;
mod slots;
mod specialisation;
mod state;
mod store;
pub mod tiers;
mod times;
mod transition;

pub use adopt::{Inconsistent, adopt};
pub use build::{Guests, Inputs, Link, Network, Parts, Way, build};
pub use change::Change;
pub use claims::shares_backends;
pub use diff::{Plan, Refused, diff};
pub use entry::Entry;
pub use flow_owners::{FlowOwners, Standing};
pub use growth::{Fit, fit};
pub use installed::{Installed, Service as InstalledService};
pub use leaving::{Moment, Tracks};
pub use placement::Place;
pub use rest::{Rested, rest};
pub use specialisation::Specialisation;
pub use state::{
    Action, Backend, Forwarding, Patience, Pool, Route, Routes, Service, State, TunnelSource,
};
pub use store::{Region, Store, StoreError};
pub use times::times;

use crate::health::Health;

/// How health stands in `BACKENDS`.
const fn health_word(health: Health) -> lb_common::backend::State {
    match health {
        Health::Down => lb_common::backend::State::Down,
        Health::Unknown => lb_common::backend::State::Unknown,
        Health::Up => lb_common::backend::State::Up,
    }
}

/// What the maps say of a backend's health; `None` for entries that are no backends.
const fn health_of(word: lb_common::backend::State) -> Option<Health> {
    match word {
        lb_common::backend::State::Down => Some(Health::Down),
        lb_common::backend::State::Unknown => Some(Health::Unknown),
        lb_common::backend::State::Up => Some(Health::Up),
        lb_common::backend::State::Free | lb_common::backend::State::Header => None,
    }
}
