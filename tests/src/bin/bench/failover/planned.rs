//! Moves that somebody asked for, and a cable that was pulled: one VIP, three nodes.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use announcer_apiserver::{CustomResource, GroupResource, NODES as NODE_OBJECTS};
use announcer_tests::{
    cluster::{Cluster, SOON, Timing},
    daemon::Signal,
    lab::Link,
    topology::Cut,
};
use anyhow::Result;
use serde_json::{Value, json};

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

pub(super) fn measure(runs: u32) -> Result<Vec<Row>> {
    let vip = addresses::in_the_lan(0);
    let mut cluster = Cluster::with_args(NODES, Timing::DEFAULT, STAY)?;
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
        Cause::Excluded => label(cluster, holder, EXCLUDED, json!("")),
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
        Cause::Excluded => label(cluster, holder, EXCLUDED, Value::Null)?,
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
    let objects = cluster.server().objects();
    objects.register(CustomResource {
        group: policies().group().to_owned(),
        version: "v1alpha1".to_owned(),
        plural: policies().plural().to_owned(),
        kind: "L2AnnouncementPolicy".to_owned(),
        namespaced: false,
        status: true,
    });
    for node in cluster.lab().nodes() {
        let labels = json!({ "metadata": { "labels": { HOST_NAME: node.name } } });
        objects.patch(&NODE_OBJECTS, "", &node.name, labels)?;
    }
    let policy = json!({ "metadata": { "name": POLICY }, "spec": { "loadBalancerIPs": true } });
    objects.create(&policies(), "", policy)?;
    select_all_but(cluster, "nobody")
}

fn select_all_but(cluster: &Cluster, name: &str) -> Result<()> {
    let others = json!({ "key": HOST_NAME, "operator": "NotIn", "values": [name] });
    let spec = json!({ "spec": { "nodeSelector": { "matchExpressions": [others] } } });
    cluster.server().objects().patch(&policies(), "", POLICY, spec)?;
    Ok(())
}

fn label(cluster: &Cluster, node: usize, key: &str, value: Value) -> Result<()> {
    let labels = json!({ "metadata": { "labels": { key: value } } });
    let name = &cluster.lab().node(node).name;
    cluster.server().objects().patch(&NODE_OBJECTS, "", name, labels)?;
    Ok(())
}

fn policies() -> GroupResource {
    GroupResource::new("l2announcer.io", "l2announcementpolicies")
}
