//! Which VIPs should be announced, and which nodes are eligible for each.
//!
//! [`index`] is a pure, synchronous index with apply, delete and reset;
//! [`watch`] feeds it from the API server.

pub mod index;
pub mod selector;
pub mod watch;
