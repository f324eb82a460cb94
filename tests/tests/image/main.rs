//! The image as a container runtime runs it.
//!
//! `cargo xtask image` makes it; `cargo xtask test` does so beside the other tests, and runs
//! these when it is there.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod shipped;
