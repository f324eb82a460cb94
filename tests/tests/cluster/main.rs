//! Announcers in a cluster: Services, Leases and the wire, from end to end, with the
//! embedded API server. Those of the tests that torment nothing inside it are run with
//! a real control plane too: see `../real`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, which prints the logs too, and tells what it measured"
)]

mod answering;
mod api_loss;
mod by_hand;
mod churn;
mod conflict;
mod crash;
mod doctor;
mod economy;
mod eligibility;
mod handover;
mod hang;
mod history;
mod links;
mod observe;
mod outage;
mod partitions;
mod placement;
mod policies;
mod rest;
mod scene;
mod services;
mod watches;
mod wire;
mod writes;

use std::time::Duration;

use announcer_tests::cluster::{Plane, Timing};
use scene::*;

const PLANE: Plane = Plane::Embedded;

/// Quicker than the default, and slow enough for a machine that stalls for a second.
const QUICK: Timing =
    Timing { lease: Duration::from_millis(1600), renew: Duration::from_millis(400) };
