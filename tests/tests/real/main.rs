//! The same tests as in `../cluster`, with etcd, kube-apiserver and the shipped
//! manifests, and tests of what only a real control plane can show.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, which prints the logs too, and tells what it measured"
)]

#[path = "../cluster/answering.rs"]
mod answering;
#[path = "../cluster/by_hand.rs"]
mod by_hand;
mod chart;
#[path = "../cluster/churn.rs"]
mod churn;
mod compacted;
mod condition;
#[path = "../cluster/conflict.rs"]
mod conflict;
#[path = "../cluster/crash.rs"]
mod crash;
mod doctor;
#[path = "../cluster/eligibility.rs"]
mod eligibility;
mod explain;
#[path = "../cluster/handover.rs"]
mod handover;
#[path = "../cluster/hang.rs"]
mod hang;
#[path = "../cluster/history.rs"]
mod history;
mod identity;
mod kube_vip;
#[path = "../cluster/links.rs"]
mod links;
mod manifests;
mod metallb;
#[path = "../cluster/outage.rs"]
mod outage;
mod outages;
#[path = "../cluster/partitions.rs"]
mod partitions;
#[path = "../cluster/placement.rs"]
mod placement;
#[path = "../cluster/policies.rs"]
mod policies;
mod rbac;
#[path = "../cluster/rest.rs"]
mod rest;
#[path = "../cluster/scene.rs"]
mod scene;
mod schema;
#[path = "../cluster/services.rs"]
mod services;
#[path = "../cluster/wire.rs"]
mod wire;

use std::time::Duration;

use announcer_tests::{
    cluster::{Cluster, Plane, SOON, Timing},
    neighbour,
    probe::ProbeHandle,
};
use scene::*;

const PLANE: Plane = Plane::Real;

/// The embedded API server answers sooner than one that writes to etcd, and leaves more
/// of the machine to the announcers.
const QUICK: Timing =
    Timing { lease: Duration::from_millis(2400), renew: Duration::from_millis(600) };

/// Waits until node `n`, which holds what `probe` asks for, answers it and has told the
/// client's kernel so: only gratuitous ARP can have.
fn arrived(cluster: &Cluster, probe: &ProbeHandle, n: usize) {
    let mac = cluster.lab().node(n).mac;
    probe.wait_answer_by(mac, SOON).unwrap();
    neighbour::wait_for_mac(cluster.lab().client(), probe.vip(), mac, SOON).unwrap();
}
