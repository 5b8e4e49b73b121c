//! What the tests that need root, and the bench, are made of.
//!
//! * [`world`]: services, backends and routes in a few words → the maps' contents, as an [`image::Image`].
//! * [`image`]: the maps' contents, which the host build of the data path reads as they are.
//! * [`kernel`]: the same contents in real maps under the real program.
//! * [`packet`]: frames, built by a library that knows nothing of the data path.
#![expect(
    clippy::expect_used,
    reason = "tests panic, so that the place is known"
)]

pub mod image;
pub mod kernel;
pub mod packet;
pub mod world;
