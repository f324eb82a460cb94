//! Crashes: all links of the holder are cut, and nobody is told.

use std::{net::Ipv4Addr, thread, time::Duration};

use announcer_apiserver::{LEASES, Match};
use announcer_tests::{
    cluster::{Cluster, NodeLease, Plane, Timing},
    lab::Link,
    topology::Cut,
};
use anyhow::{Context, Result, ensure};

use super::{FAST, NODES, PATIENCE, STAY, probe};
use crate::{
    addresses, interrupt, progress,
    report::{Cell, Row, Table},
    samples::Samples,
};

pub(super) fn measure(plane: Plane, runs: u32) -> Result<Table> {
    let columns = ["runs", "min", "median", "p90", "worst"];
    let mut table = Table::new("crash of the holder to first answer by another node, s", columns);
    table.rows.push(crashes(plane, Timing::DEFAULT, runs, [2.7, 3.5])?);
    table.rows.push(crashes(plane, FAST, runs, [0.8, 1.1])?);
    Ok(table)
}

/// `goals`: for the median and for the worst, in seconds.
fn crashes(plane: Plane, timing: Timing, runs: u32, goals: [f64; 2]) -> Result<Row> {
    let Timing { lease, renew } = timing;
    progress(&format!("{runs} crashes with leases of {lease:?} renewed every {renew:?}"));
    let vip = addresses::in_the_lan(0);
    let mut cluster = Cluster::new(plane, NODES, timing, STAY)?;
    cluster.create_service("web", vip)?;
    cluster.start_all()?;
    let mut seconds = Vec::new();
    for run in 0..runs {
        interrupt::check()?;
        let holder = cluster.wait_for_holder(vip, PATIENCE, |_| true)?;
        // Everybody has seen everybody alive for as long as a fence takes.
        cluster.wait_lease_duration()?;
        // Half a renewal more or less decides: the runs are spread over it evenly.
        let phase = renew.mul_f64((f64::from(run) + 0.5) / f64::from(runs));
        let took = crash(&cluster, vip, holder, phase).with_context(|| format!("run {run}"))?;
        progress(&format!("  {:6.3} s", took.as_secs_f64()));
        seconds.push(took.as_secs_f64());
    }
    let seconds = Samples::new(seconds).context("there are no runs")?;
    let [median, worst] = goals;
    let cells = [
        Cell::from(f64::from(runs)),
        seconds.min().into(),
        Cell::from(seconds.median()).at_most(median),
        seconds.percentile(90).into(),
        Cell::from(seconds.max()).at_most(worst),
    ];
    Ok(Row::new(format!("leases of {lease:?}, renewed every {renew:?}"), cells))
}

/// Cuts the holder off `phase` after a renewal, waits for another node's first answer,
/// and for the holder's return.
fn crash(cluster: &Cluster, vip: Ipv4Addr, holder: usize, phase: Duration) -> Result<Duration> {
    let lab = cluster.lab();
    let node = lab.node(holder);
    let probe = probe(cluster, vip)?;
    probe.wait_answer_by(node.mac, PATIENCE)?;
    let before = cluster.node_lease(holder).context("the holder has no lease")?;
    wait_renewal(cluster, holder)?;
    thread::sleep(phase);
    let cut = lab.cut(node, Link::All, Cut::Silent)?;
    let first = probe.wait_answer(PATIENCE, |answer| answer.mac != node.mac)?;
    let recording = probe.stop()?;
    ensure!(recording.contested() == 0, "two nodes answered: {:?}", recording.overlaps());

    lab.restore(node, Link::All)?;
    cluster.wait_for_node_lease(holder, PATIENCE, |lease| {
        lease.is_open() && lease.session != before.session
    })?;
    Ok(first.at.saturating_duration_since(cut))
}

/// Waits until node `n` has just renewed its lease.
fn wait_renewal(cluster: &Cluster, n: usize) -> Result<()> {
    let name = &cluster.lab().node(n).name;
    let renewals = Match::any().client(name).writes().resource(LEASES).name(NodeLease::name(name));
    let audit = cluster.audit();
    let next = audit.count(&renewals) + 1;
    ensure!(audit.wait_for(&renewals, next, PATIENCE), "{name} does not renew its lease");
    Ok(())
}
