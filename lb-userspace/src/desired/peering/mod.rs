//! What a balancer tells its peers of its rows and tracked flows, and what it takes of what they tell.
//!
//! Backends have other places in their service's extent on every balancer, and every balancer has a clock of
//! its own: what is told has the backends' addresses, and ages.

mod parked;
mod take;
mod tell;

pub use parked::Parked;
pub use take::{Taker, is_up, take};
pub use tell::Telling;

/// What was told is told again, if it is still so, when so many seconds of an idle time have passed.
const fn refresh(idle: u16) -> u32 {
    let quarter = idle as u32 / 4;
    if quarter == 0 { 1 } else { quarter }
}
