//! Real kube clients against the server: what the announcer relies on, and each fault.

#![cfg_attr(test, expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking"))]

mod cluster;
mod faults;
mod objects;
mod stress;
mod watching;
