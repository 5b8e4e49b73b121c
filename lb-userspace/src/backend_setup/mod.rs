//! What a backend needs for its mode, as lines for its shell: `xlb service show --backend-setup`.
//!
//! ```text
//! configuration + the balancer's network ─► Facts ─► one file for each kind of mode ─► Script
//! ```
//!
//! Pure. The lines may be given to `sh -e` on the backend, also twice; those that begin with `#` are
//! for people. What they set lasts until the backend restarts.

mod direct;
mod facts;
mod full_nat;
mod nat;
mod script;
mod tunnel;

use self::{facts::Facts, script::Script};
use crate::{
    config::model::{Backend, Config, Mode, Service},
    net::View,
};

/// The lines for one backend of a service of `config`; `view` is the balancer's network.
#[must_use]
pub fn lines(config: &Config, view: &View, service: &Service, backend: &Backend) -> Vec<String> {
    let facts = Facts::gather(config, view, service, backend);
    let mut script = Script::default();
    script.note(&facts.title());
    match backend.mode {
        Mode::Nat => nat::write(&facts, &mut script),
        Mode::FullNat => full_nat::write(&facts, &mut script),
        Mode::L2Dsr => direct::write(&facts, &mut script),
        Mode::Ipip | Mode::Gue => tunnel::write(&facts, &mut script),
    }
    script.into_lines()
}
