//! A cluster in which nothing happens.

use std::time::{Duration, Instant};

use announcer_apiserver::Match;
use announcer_tests::cluster::{Cluster, Plane, Timing};
use anyhow::{Context, Result};

use super::{NODES, PATIENCE};
use crate::{
    addresses, interrupt,
    process::{Memory, cpu_time},
    progress,
    report::Figure,
    samples::Samples,
    settle,
};

const VIPS: u32 = 100;

/// What a cluster with [`VIPS`] VIPs takes while nothing happens; of the daemons the
/// costliest.
pub(super) fn measure(plane: Plane, length: Duration) -> Result<Vec<Figure>> {
    progress(&format!("{VIPS} VIPs at rest, for {length:?}"));
    let mut cluster = Cluster::new(plane, NODES, Timing::DEFAULT, [])?;
    for n in 0..VIPS {
        cluster.create_service(&format!("web-{n}"), addresses::in_the_lan(n))?;
    }
    cluster.start_all()?;
    for n in 0..VIPS {
        cluster.wait_for_holder(addresses::in_the_lan(n), PATIENCE, |_| true)?;
    }
    // Nodes that are new are not trusted with VIPs for some lease durations.
    cluster.wait_renewals(12)?;
    settle::until_vips_rest(cluster.audit(), PATIENCE)?;
    // Five rounds of announcements, 1.1 s apart, and what else comes with a move.
    cluster.wait_renewals(8)?;

    let daemons = 1..=usize::from(NODES);
    let pids: Vec<u32> = daemons.map(|n| Ok(cluster.daemon(n)?.pid())).collect::<Result<_>>()?;
    let used = || pids.iter().map(|&pid| cpu_time(pid)).collect::<Result<Vec<_>>>();
    let audit = cluster.audit();
    let (began, cpu, requests) = (Instant::now(), used()?, audit.count(&Match::any()));
    interrupt::pause(length)?;
    let (elapsed, later) = (began.elapsed().as_secs_f64(), used()?);
    let requests = audit.count(&Match::any()).saturating_sub(requests);

    let percent = cpu
        .iter()
        .zip(later)
        .map(|(&before, after)| after.saturating_sub(before).as_secs_f64() / elapsed * 100.0);
    let percent = Samples::new(percent).context("there are no daemons")?;
    let memory = pids.iter().map(|&pid| Memory::of(pid)).collect::<Result<Vec<_>>>()?;
    let megabytes = |bytes: fn(&Memory) -> u64| {
        Samples::new(memory.iter().map(|memory| bytes(memory) as f64 / 1e6))
            .context("there are no daemons")
    };
    let resident = megabytes(|memory| memory.resident)?;
    let proportional = megabytes(|memory| memory.proportional)?;
    let anonymous = megabytes(|memory| memory.anonymous)?;
    let rate = requests as f64 / elapsed;
    Ok(vec![
        Figure::new(format!("resident memory of a daemon, {VIPS} VIPs"), "MB", resident.max())
            .at_most(15.0)
            .detail("least", resident.min())
            .detail("proportional", proportional.max())
            .detail("anonymous", anonymous.max()),
        Figure::new(format!("CPU of a daemon at rest, {VIPS} VIPs"), "%", percent.max())
            .at_most(0.5)
            .detail("least", percent.min()),
        Figure::new(format!("API requests at rest, {VIPS} VIPs, {NODES} nodes"), "/s", rate)
            .detail("per node", rate / f64::from(NODES)),
    ])
}
