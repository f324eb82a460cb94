//! VIPs that come back to a node that has returned.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use announcer_tests::cluster::{Cluster, Plane, SOON, Timing};
use anyhow::{Context, Result};

use super::{
    NODES, PATIENCE,
    moves::{Client, Seen, row},
};
use crate::{addresses, interrupt, progress, report::Row, settle};

const NAME: &str = "rebalancing after a node returns";
/// Enough that every node holds some, and no node all the others'.
const VIPS: u32 = 12;
/// How many of the moving ones are probed at once: each probe takes some CPU.
const PROBED: usize = 3;
/// Rebalancing is gradual.
const MOVED: Duration = Duration::from_secs(60);

/// At least `moves` moves.
pub(super) fn measure(plane: Plane, moves: u32) -> Result<Row> {
    progress(&format!("{moves} moves: {NAME}"));
    let mut cluster = Cluster::new(plane, NODES, Timing::DEFAULT, [])?;
    cluster.start_all()?;
    cluster.wait_lease_duration()?;
    // After the nodes, so that none of them takes more than its share.
    let vips: Vec<_> = (0..VIPS).map(addresses::in_the_lan).collect();
    for (n, &vip) in vips.iter().enumerate() {
        cluster.create_service(&format!("web-{n}"), vip)?;
    }
    for &vip in &vips {
        cluster.wait_for_holder(vip, PATIENCE, |_| true)?;
    }
    // Nodes that are new are not trusted with VIPs for some lease durations.
    cluster.wait_renewals(12)?;
    let mut all = Vec::new();
    while all.len() < usize::try_from(moves)? {
        interrupt::check()?;
        let seen = returning(&mut cluster, &vips)?;
        if seen.is_empty() {
            interrupt::check()?;
            return Ok(row(NAME, &all, true).note(format!("nothing moved back within {MOVED:?}")));
        }
        for seen in seen {
            progress(&format!("  {seen:?}"));
            all.push(seen);
        }
    }
    Ok(row(NAME, &all, true))
}

/// One node goes and comes back. Times are from its start on.
fn returning(cluster: &mut Cluster, vips: &[Ipv4Addr]) -> Result<Vec<Seen>> {
    settle::until_vips_rest(cluster.audit(), MOVED)?;
    let n = vips.iter().find_map(|&vip| cluster.holder(vip)).context("nobody holds a VIP")?;
    let held = vips.iter().copied().filter(|&vip| cluster.holder(vip) == Some(n));
    let probed: Vec<_> = held.take(PROBED).collect();
    cluster.terminate(n, SOON)?;
    let mut clients = Vec::new();
    for &vip in &probed {
        let heir = cluster.wait_for_holder(vip, PATIENCE, |holder| holder != n)?;
        clients.push((vip, Client::of(cluster, vip, heir)?));
    }
    let (began, deadline) = (Instant::now(), Instant::now() + MOVED);
    cluster.start(n)?;
    let mut all = Vec::new();
    for (vip, client) in clients {
        let left = deadline.saturating_duration_since(Instant::now());
        if cluster.wait_for_holder(vip, left, |holder| holder == n).is_ok() {
            all.push(client.watch(began, cluster.lab().node(n).mac)?);
        }
    }
    Ok(all)
}
