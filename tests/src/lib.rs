//! Labs out of network namespaces: hosts and switches, links that can be cut, a
//! probe client that records who answers for a VIP and when, captures, backends,
//! and the announcer as a process in a node's namespace.
//!
//! Used by the integration tests, by `cargo xtask lab` and by the benchmarks.
//! Needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW) and iproute2; whatever is
//! missing is an error of one sentence that says how to mend it. Namespaces are
//! anonymous and held by file descriptors, so labs run side by side and vanish
//! with the process that made them, even when it is killed.
//!
//! Nothing here is shared with the product's own packet code, so that a mistake
//! there is not repeated by the tests.

#![cfg_attr(test, expect(clippy::expect_used, reason = "a test fails by panicking"))]

pub mod arp;
pub mod backend;
pub mod bpf;
pub mod capture;
pub mod cluster;
pub mod confine;
pub mod container;
pub mod controlplane;
pub mod daemon;
pub mod deployment;
pub mod examined;
pub mod forward;
pub mod lab;
pub mod link;
pub mod neighbour;
mod netlink;
pub mod netns;
pub mod packet_socket;
mod poll;
pub mod probe;
pub mod recording;
mod scratch;
pub mod seccomp;
mod spawn;
pub mod sweep;
pub mod timeline;
pub mod topology;
pub mod watched;
