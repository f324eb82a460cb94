//! What a cluster at rest asks of the API server as its nodes grow in number.

use std::time::{Duration, Instant};

use announcer_tests::cluster::Timing;
use anyhow::Result;

use super::{fleet::Fleet, traffic::Traffic};
use crate::{
    interrupt,
    process::cpu_time,
    progress,
    report::{Cell, Row, Table},
    settle,
};

/// Watch events for each node and renewal: three monitors, and some for bookmarks.
const EVENTS: f64 = 3.3;
/// For a fleet to start.
const PATIENCE: Duration = Duration::from_secs(180);
/// Until nodes are no longer new to each other, in lease durations.
const SETTLED: u32 = 4;

pub(super) fn measure(sizes: &[u32], renew: Duration, rest: Duration) -> Result<Table> {
    let timing = Timing { lease: renew * 3, renew };
    let columns =
        ["events/s", "a node's a renewal", "updates/s", "gets/s", "all", "a node's", "CPU %"];
    let title = format!("nodes at rest, leases of {:?} renewed every {renew:?}", timing.lease);
    let legend = "watch events (in all, and for each node between two of its renewals) and API \
                  requests of light clients in one process that run the daemon's ownership code; \
                  CPU of all of them";
    let mut table = Table::new(title, columns).legend(legend);
    for &nodes in sizes {
        interrupt::check()?;
        table.rows.push(at_rest(nodes, timing, rest)?);
    }
    Ok(table)
}

fn at_rest(nodes: u32, timing: Timing, rest: Duration) -> Result<Row> {
    progress(&format!("{nodes} nodes at rest, for {rest:?}"));
    let began = Instant::now();
    let fleet = Fleet::start(nodes, timing, PATIENCE)?;
    progress(&format!("  all are there after {:.1} s", began.elapsed().as_secs_f64()));
    let audit = fleet.server().audit();
    interrupt::pause(timing.lease * SETTLED)?;
    settle::until_vips_rest(audit, PATIENCE)?;
    let (before, cpu) = (Traffic::of(audit), cpu_time(fleet.pid())?);
    interrupt::pause(rest)?;
    let (after, cpu) = (Traffic::of(audit), cpu_time(fleet.pid())?.saturating_sub(cpu));
    let rates = after.since(&before);
    progress(&format!("  {}", rates.list()));
    let nodes = f64::from(nodes);
    let cells = [
        Cell::from(rates.events),
        Cell::from(rates.events / nodes * timing.renew.as_secs_f64()).at_most(EVENTS),
        rates.of_kind("update leases").into(),
        rates.of_kind("get leases").into(),
        rates.all().into(),
        (rates.all() / nodes).into(),
        (cpu.as_secs_f64() / rest.as_secs_f64() * 100.0).into(),
    ];
    Ok(Row::new(format!("{nodes} nodes"), cells).note(rates.list()))
}
