//! The daemon.

pub mod instance;

pub use instance::Instance;
