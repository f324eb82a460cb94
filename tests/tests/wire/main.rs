//! The announcer on the wire, without Kubernetes: `announcer run --static-vip` in a
//! network namespace, and what a client beside it sees.
//!
//! The suite runs at every hook. At native XDP the other end of the node's cable has an
//! XDP program, too, which passes everything: without one veth loses what XDP sends.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::duplicate_mod,
    reason = "a test fails by panicking, which prints the logs too; the suite is one for all hooks"
)]

mod conflict;
mod doctor;
mod hooks;
mod probe;
mod scene;
mod settings;

#[path = "."]
mod generic {
    const HOOK: announcer_tests::bpf::Hook = announcer_tests::bpf::Hook::Generic;
    mod suite;
}

#[path = "."]
mod native {
    const HOOK: announcer_tests::bpf::Hook = announcer_tests::bpf::Hook::Native;
    mod suite;
}

#[path = "."]
mod tcx {
    const HOOK: announcer_tests::bpf::Hook = announcer_tests::bpf::Hook::Tcx;
    mod suite;
}
