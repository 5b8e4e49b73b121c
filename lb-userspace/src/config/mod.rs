//! From YAML to a model that cannot be wrong.

pub mod model;
