//! New Services.

use std::time::Instant;

use announcer_tests::cluster::{ANNOUNCE, Cluster, Plane, Timing};
use anyhow::{Context, Result};
use serde_json::json;

use super::{NODES, PATIENCE, milliseconds, probe};
use crate::{addresses, interrupt, progress, report::Figure, samples::Samples};

/// From before the address is written until the client has an answer. The probe asks
/// every millisecond, which adds half of one. As all tests and benches, without ARP
/// Probes before the first claim (`--probe-interval 0`): those would add 0.8 to 1.4 s.
pub(super) fn measure(plane: Plane, services: u32) -> Result<Figure> {
    progress(&format!("{services} Services that get an address"));
    let mut cluster = Cluster::new(plane, NODES, Timing::DEFAULT, [])?;
    cluster.start_all()?;
    // So that nobody waits for those who might know more than it does.
    cluster.wait_lease_duration()?;
    let mut ms = Vec::new();
    for n in 0..services {
        interrupt::check()?;
        let vip = addresses::in_the_lan(n);
        let (label, value) = ANNOUNCE;
        cluster.create_service_without_address("web", json!({ label: value }))?;
        let probe = probe(&cluster, vip)?;
        probe.wait_requests(200)?;
        let written = Instant::now();
        cluster.set_addresses("web", &[vip])?;
        let first = probe.wait_first_answer(PATIENCE)?;
        ms.push(milliseconds(first.at.saturating_duration_since(written)));
        drop(probe);
        cluster.delete_service("web")?;
        cluster.wait_released(vip, PATIENCE)?;
    }
    let ms = Samples::new(ms).context("there are no Services")?;
    Ok(Figure::median("Service address written to first answer, unprobed", "ms", &ms).at_most(12.0))
}
