//! The watches against an API server, and the manifest against the types.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod crd;
mod events;
mod watches;
