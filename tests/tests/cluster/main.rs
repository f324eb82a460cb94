//! Announcers in a cluster: Services, Leases and the wire, from end to end.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, which prints the logs too, and tells what it measured"
)]

mod answering;
mod api_loss;
mod by_hand;
mod churn;
mod crash;
mod economy;
mod eligibility;
mod handover;
mod hang;
mod links;
mod partitions;
mod placement;
mod policies;
mod services;
mod watches;
mod wire;
mod writes;

use std::{net::Ipv4Addr, time::Duration};

use announcer_tests::{
    cluster::{Cluster, NodeLease, SOON, Timing, VipLease},
    lab::CLIENT_NIC,
    probe::{Probe, ProbeHandle},
};

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
const THIRD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 12);

/// Quicker than the default, and slow enough for a machine that stalls for a second.
const QUICK: Timing =
    Timing { lease: Duration::from_millis(1600), renew: Duration::from_millis(400) };

/// Nothing is answered for this long: it has ended.
const QUIET: Duration = Duration::from_millis(200);

/// As the flag `--on-api-loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Hold,
    Withdraw,
}

impl Mode {
    /// A cluster whose announcers lose the API server in this way.
    fn cluster(self, nodes: u8, timing: Timing) -> Cluster {
        let flag = match self {
            Self::Hold => "hold",
            Self::Withdraw => "withdraw",
        };
        Cluster::with_args(nodes, timing, STAY.into_iter().chain(["--on-api-loss", flag])).unwrap()
    }
}

/// VIPs stay with whoever holds them, though another may be the one to hold them rather.
const STAY: [&str; 2] = ["--rebalance-rate", "0"];

/// A cluster with quick timing in which nothing moves without need.
fn quick(nodes: u8) -> Cluster {
    Cluster::with_args(nodes, QUICK, STAY).unwrap()
}

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

/// What all leases of a cluster say, but for what changes with every renewal.
fn leases(cluster: &Cluster) -> (Option<VipLease>, Vec<Option<NodeLease>>) {
    let nodes = 1..=cluster.lab().nodes().len();
    (cluster.vip_lease(VIP), nodes.map(|n| cluster.node_lease(n)).collect())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
