//! The keyed hash of the five-tuple.
