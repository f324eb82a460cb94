//! Announcers in a cluster: Services, Leases and the wire, from end to end.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, which prints the logs too, and tells what it measured"
)]

mod answering;
mod api_loss;
mod crash;
mod handover;
mod hang;
mod services;

use std::{net::Ipv4Addr, time::Duration};

use announcer_tests::{
    cluster::{Cluster, SOON},
    lab::CLIENT_NIC,
    probe::{Probe, ProbeHandle},
};

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// Node 1 holds [`VIP`], the other nodes could, and the client asks for it.
fn held_by_node_1(cluster: &mut Cluster) -> ProbeHandle {
    cluster.create_service("web", VIP).unwrap();
    // Alone it need not wait for others who might know more.
    cluster.start(1).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    for n in 2..=cluster.lab().nodes().len() {
        cluster.start(n).unwrap();
    }
    answered_by_node_1(cluster)
}

/// A probe that began when node 1 answered already: nothing in it is unanswered because
/// it came too early.
fn answered_by_node_1(cluster: &Cluster) -> ProbeHandle {
    let ask = || {
        let probe = Probe::new(VIP).start(cluster.lab().client(), CLIENT_NIC).unwrap();
        probe.wait_answer_by(cluster.lab().node(1).mac, SOON).unwrap();
        probe
    };
    drop(ask());
    ask()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
