//! The announcer on the wire, without Kubernetes: `announcer run --static-vip` in a
//! network namespace, and what a client beside it sees.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, which prints the logs too"
)]

mod answering;
mod conflict;
mod gratuitous;
mod interfaces;
mod lifecycle;
mod local_vip;
mod occupied;
mod passing;
mod pinging;
mod refusing;
mod scene;
mod settings;
mod tags;
mod uplink;
