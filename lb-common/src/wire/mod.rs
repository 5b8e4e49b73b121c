//! Headers as they lie on the wire.
