//! Helpers of the tests that need root.
