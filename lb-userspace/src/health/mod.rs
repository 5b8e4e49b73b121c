//! Is a backend fit to take flows? Probes ask it, a state machine judges the answers.
//!
//! ```text
//! set_targets ─► scheduler (interval, jitter, bounded concurrency) ─► probe (TCP) ─► Outcome
//!                    └─► Machine::observe ─► Option<Transition> ─► Event, Report
//! ```
//!
//! * [`outcome`]: how a probe may end.
//! * [`machine`]: rise and fall; pure, without clock or socket.
//! * [`guards`]: where a failure takes nobody out.
//! * [`cause`]: why the way by a VIP fails where the backend answers.
//! * [`probe`]: one question to one address.
//! * [`damping`]: whether one that falls again and again is kept out.
//! * [`feedback`]: how much one takes that says so itself.
//! * [`slow_start`]: how much one takes that comes back.
//! * [`passive`]: what clients' packets show beside that.
//! * [`scheduler`]: who is asked when; events and the state of all targets.
//!
//! What the operator wants (drain, maint) stands beside these states and is none of this module's.

pub mod cause;
pub mod damping;
pub mod feedback;
pub mod guards;
pub mod machine;
pub mod outcome;
pub mod passive;
pub mod probe;
mod recent;
mod registry;
mod schedule;
pub mod scheduler;
pub mod slow_start;

pub use guards::Held;
pub use machine::{Health, Machine, Streak, Transition};
pub use outcome::Outcome;
pub use registry::{Event, Last, Report, ServiceHealth, Target, Via};
pub use scheduler::{Prober, Reports};
