//! Who owns which slot.
