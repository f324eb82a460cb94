//! What tests with either API server begin with.

use std::{net::Ipv4Addr, time::Duration};

use announcer_tests::{
    cluster::{Cluster, NodeLease, SOON, Timing, VipLease},
    lab::CLIENT_NIC,
    probe::{Probe, ProbeHandle},
};

use crate::{PLANE, QUICK};

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
pub(crate) const THIRD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 12);

/// Nothing is answered for this long: it has ended.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// As the flag `--on-api-loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Hold,
    Withdraw,
}

impl Mode {
    /// A cluster whose announcers lose the API server in this way.
    pub(crate) fn cluster(self, nodes: u8, timing: Timing) -> Cluster {
        let flag = match self {
            Self::Hold => "hold",
            Self::Withdraw => "withdraw",
        };
        cluster(nodes, timing, STAY.into_iter().chain(["--on-api-loss", flag]))
    }
}

/// VIPs stay with whoever holds them, though another may be the one to hold them rather.
pub(crate) const STAY: [&str; 2] = ["--rebalance-rate", "0"];

/// A cluster with the API server that is being tested with, and further arguments for
/// its announcers.
pub(crate) fn cluster<'a>(
    nodes: u8,
    timing: Timing,
    args: impl IntoIterator<Item = &'a str>,
) -> Cluster {
    Cluster::new(PLANE, nodes, timing, args).unwrap()
}

/// A cluster with quick timing in which nothing moves without need.
pub(crate) fn quick(nodes: u8) -> Cluster {
    cluster(nodes, QUICK, STAY)
}

/// Node 1 holds [`VIP`], the other nodes could, and the client asks for it.
pub(crate) fn held_by_node_1(cluster: &mut Cluster) -> ProbeHandle {
    cluster.create_service("web", VIP).unwrap();
    // Alone it need not wait for others who might know more.
    cluster.start(1).unwrap();
    cluster.wait_for_holder(VIP, SOON, |n| n == 1).unwrap();
    for n in 2..=cluster.lab().nodes().len() {
        cluster.start(n).unwrap();
    }
    answered_by_node_1(cluster)
}

/// See [`answered_by`].
pub(crate) fn answered_by_node_1(cluster: &Cluster) -> ProbeHandle {
    answered_by(cluster, VIP, 1)
}

/// A probe that began when node `n` answered already: nothing in it is unanswered because
/// it came too early.
pub(crate) fn answered_by(cluster: &Cluster, vip: Ipv4Addr, n: usize) -> ProbeHandle {
    let probe = || {
        let probe = ask(cluster, vip);
        probe.wait_answer_by(cluster.lab().node(n).mac, SOON).unwrap();
        probe
    };
    drop(probe());
    probe()
}

/// The client asks for `vip`.
pub(crate) fn ask(cluster: &Cluster, vip: Ipv4Addr) -> ProbeHandle {
    Probe::new(vip).start(cluster.lab().client(), CLIENT_NIC).unwrap()
}

/// What all leases of a cluster say, but for what changes with every renewal.
pub(crate) fn leases(cluster: &Cluster) -> (Option<VipLease>, Vec<Option<NodeLease>>) {
    let nodes = 1..=cluster.lab().nodes().len();
    (cluster.vip_lease(VIP), nodes.map(|n| cluster.node_lease(n)).collect())
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
