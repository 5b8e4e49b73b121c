//! The packet's way.
