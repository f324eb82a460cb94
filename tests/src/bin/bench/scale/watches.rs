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

pub(super) fn measure(sizes: &[u32], rest: Duration) -> Result<Table> {
    let columns = ["events/s", "per node", "updates/s", "gets/s", "all", "all per node", "CPU %"];
    let title = "nodes at rest, one VIP for each, 3s/1s: watch events and API requests";
    let legend = "light clients in one process that run the daemon's ownership code (Leases only); \
                  CPU of all of them";
    let mut table = Table::new(title, columns).legend(legend);
    for &nodes in sizes {
        interrupt::check()?;
        table.rows.push(at_rest(nodes, rest)?);
    }
    Ok(table)
}

fn at_rest(nodes: u32, rest: Duration) -> Result<Row> {
    progress(&format!("{nodes} nodes at rest, for {rest:?}"));
    let timing = Timing::DEFAULT;
    let began = Instant::now();
    let fleet = Fleet::start(nodes, nodes, timing, PATIENCE)?;
    progress(&format!("  all VIPs are held after {:.1} s", began.elapsed().as_secs_f64()));
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
        Cell::from(rates.events / nodes).at_most(EVENTS / timing.renew.as_secs_f64()),
        rates.of_kind("update leases").into(),
        rates.of_kind("get leases").into(),
        rates.all().into(),
        (rates.all() / nodes).into(),
        (cpu.as_secs_f64() / rest.as_secs_f64() * 100.0).into(),
    ];
    Ok(Row::new(format!("{nodes} nodes"), cells).note(rates.list()))
}
