//! What must hold whatever comes: each target takes an input apart, lets the code under
//! test work on it, and panics when a rule is broken.
//!
//! `cargo xtask fuzz` runs the targets. They start from `corpus/`, which is written out of
//! [`seeds`] by `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

pub mod announce_frames;
#[path = "../../announcer/src/announce/wire/frame.rs"]
mod frame;
pub mod maps;
pub mod reply;
pub mod seeds;
#[path = "../../announcer/src/types.rs"]
pub mod types;
pub mod verdict;
