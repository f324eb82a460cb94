//! Moves that somebody asked for, and a cable that was pulled: one VIP, three nodes.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use announcer_tests::{
    cluster::{Cluster, Plane, SOON, Timing},
    daemon::Signal,
    lab::Link,
    topology::Cut,
};
use anyhow::Result;
use serde_json::json;

use super::{
    NODES, PATIENCE, STAY,
    moves::{Client, Seen, row},
};
use crate::{addresses, interrupt, progress, report::Row};

/// Longer than an offer waits for a successor.
const MOVED: Duration = Duration::from_secs(10);
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const HOST_NAME: &str = "kubernetes.io/hostname";
const POLICY: &str = "bench";

/// What makes the VIP move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Terminated,
    Excluded,
    Deselected,
    CarrierLost,
}

const CAUSES: [Cause; 4] =
    [Cause::Terminated, Cause::Excluded, Cause::Deselected, Cause::CarrierLost];

pub(super) fn measure(plane: Plane, runs: u32) -> Result<Vec<Row>> {
    let vip = addresses::in_the_lan(0);
    let mut cluster = Cluster::new(plane, NODES, Timing::DEFAULT, STAY)?;
    install_policy(&cluster)?;
    cluster.create_service("web", vip)?;
    cluster.start_all()?;
    CAUSES.into_iter().map(|cause| moves(&mut cluster, vip, cause, runs)).collect()
}

fn moves(cluster: &mut Cluster, vip: Ipv4Addr, cause: Cause, runs: u32) -> Result<Row> {
    progress(&format!("{runs} moves: {}", cause.name()));
    let mut all = Vec::new();
    for _ in 0..runs {
        interrupt::check()?;
        cluster.wait_for_holder(vip, PATIENCE, |_| true)?;
        cluster.wait_lease_duration()?;
        let Some(seen) = one_move(cluster, vip, cause)? else {
            interrupt::check()?;
            let note = format!("not moved within {MOVED:?}");
            return Ok(row(cause.name(), &all, cause.lossless()).note(note));
        };
        progress(&format!("  {seen:?}"));
        all.push(seen);
    }
    Ok(row(cause.name(), &all, cause.lossless()))
}

/// `None`: nobody took it over.
fn one_move(cluster: &mut Cluster, vip: Ipv4Addr, cause: Cause) -> Result<Option<Seen>> {
    let holder = cluster.wait_for_holder(vip, PATIENCE, |_| true)?;
    let client = Client::of(cluster, vip, holder)?;
    let began = Instant::now();
    let taken = match cause {
        // It ends when it has handed over.
        Cause::Terminated => cluster.daemon(holder)?.signal(Signal::Term),
        Cause::Excluded => cluster.set_node_label(holder, EXCLUDED, Some("")),
        Cause::Deselected => select_all_but(cluster, &cluster.lab().node(holder).name),
        Cause::CarrierLost => {
            let lab = cluster.lab();
            lab.cut(lab.node(holder), Link::Lan, Cut::Carrier).map(drop)
        }
    };
    taken?;
    let successor = cluster.wait_for_holder(vip, MOVED, |n| n != holder).ok();
    let successor = successor.map(|successor| cluster.lab().node(successor).mac);
    let seen = successor.map(|successor| client.watch(began, successor)).transpose()?;
    match cause {
        Cause::Terminated => {
            cluster.wait_ended(holder, SOON)?;
            cluster.start(holder)?;
        }
        Cause::Excluded => cluster.set_node_label(holder, EXCLUDED, None)?,
        Cause::Deselected => select_all_but(cluster, "nobody")?,
        Cause::CarrierLost => cluster.lab().restore(cluster.lab().node(holder), Link::Lan)?,
    }
    Ok(seen)
}

impl Cause {
    const fn name(self) -> &'static str {
        match self {
            Self::Terminated => "SIGTERM",
            Self::Excluded => "node excluded by its label",
            Self::Deselected => "policy no longer selects the node",
            Self::CarrierLost => "carrier lost (a fast move, not a planned one)",
        }
    }

    /// Whether the holder can go on answering until the successor does.
    const fn lossless(self) -> bool {
        !matches!(self, Self::CarrierLost)
    }
}

/// One policy, which selects all Services and all nodes.
fn install_policy(cluster: &Cluster) -> Result<()> {
    cluster.install_policies()?;
    for n in 1..=usize::from(NODES) {
        cluster.set_node_label(n, HOST_NAME, Some(cluster.name(n)))?;
    }
    select_all_but(cluster, "nobody")
}

fn select_all_but(cluster: &Cluster, name: &str) -> Result<()> {
    let others = json!({ "key": HOST_NAME, "operator": "NotIn", "values": [name] });
    cluster.set_policy(POLICY, json!({ "nodeSelector": { "matchExpressions": [others] } }))
}
