//! Moves of a VIP from one living node to another, as a client sees them.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use announcer_tests::{
    arp::Mac,
    cluster::{Cluster, Plane},
    neighbour,
    netns::NetNs,
    probe::ProbeHandle,
    recording::Overlap,
};
use anyhow::{Context, Result};

use super::{PATIENCE, milliseconds, planned, probe, rebalance};
use crate::{
    report::{Cell, Row, Table},
    samples::Samples,
};

/// A kernel ignores what it hears within 1 s of the last change (net.ipv4.neigh.*.locktime),
/// and a VIP is announced five times, 1.1 s apart.
const TOLD: Duration = Duration::from_secs(8);
/// After the successor's first answer the old holder has that much time to end, in
/// requests at 1 kHz.
const TAIL: usize = 500;
/// Both may answer for so long in a planned move, in milliseconds.
const OVERLAP: f64 = 50.0;

pub(super) fn measure(plane: Plane, runs: u32) -> Result<Table> {
    let columns =
        ["moves", "unanswered", "by two", "overlap ms", "stale caches", "median s", "worst s"];
    let table = Table::new("moves, as a client sees them that asks 1000 times a second", columns);
    let mut table = table.legend(
        "requests of all moves; the longest time with two answerers; clients whose kernel does \
         not end with the new MAC; time to the successor's first answer",
    );
    table.rows.extend(planned::measure(plane, runs)?);
    table.rows.push(rebalance::measure(plane, runs)?);
    Ok(table)
}

/// A client that asks for a VIP, and whose kernel knows who has it.
pub(super) struct Client {
    ns: NetNs,
    vip: Ipv4Addr,
    probe: ProbeHandle,
}

/// What a client saw of one move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    unanswered: usize,
    /// Requests with two answerers.
    contested: usize,
    /// For how long there were two.
    overlap: Duration,
    /// Until the first answer by the successor.
    took: Duration,
    /// The client's kernel ended with another MAC than the successor's.
    stale: bool,
}

impl Client {
    /// `holder` is the number of the node that answers.
    pub(super) fn of(cluster: &Cluster, vip: Ipv4Addr, holder: usize) -> Result<Self> {
        let (lab, mac) = (cluster.lab(), cluster.lab().node(holder).mac);
        let probe = probe(cluster, vip)?;
        probe.wait_answer_by(mac, PATIENCE)?;
        neighbour::resolve(lab.client(), vip, PATIENCE)?;
        neighbour::wait_for_mac(lab.client(), vip, mac, PATIENCE)?;
        Ok(Self { ns: lab.client().clone(), vip, probe })
    }

    /// What was seen since `began` of a move to `successor`, which holds the VIP by now.
    pub(super) fn watch(self, began: Instant, successor: Mac) -> Result<Seen> {
        self.probe.wait_answer_by(successor, PATIENCE)?;
        // That its kernel never hears of it is a figure, not a failure.
        let _ = neighbour::wait_for_mac(&self.ns, self.vip, successor, TOLD);
        self.probe.wait_requests(TAIL)?;
        let stale = neighbour::mac_of(&self.ns, self.vip)? != Some(successor);
        let recording = self.probe.stop()?;
        let seen = recording.between(began, recording.to);
        let answered = seen.answerers().get(&successor).map(|answered| answered.first);
        let first = answered.context("the successor's answers are not recorded")?;
        let lasted = |overlap: &Overlap| overlap.to.saturating_duration_since(overlap.from);
        Ok(Seen {
            unanswered: seen.unanswered(),
            contested: seen.contested(),
            overlap: seen.overlaps().iter().map(lasted).sum(),
            took: first.at.saturating_duration_since(began),
            stale,
        })
    }
}

/// One kind of move. `lossless`: nothing may be lost, and two may answer for a moment.
pub(super) fn row(name: &str, seen: &[Seen], lossless: bool) -> Row {
    let sum = |part: fn(&Seen) -> usize| seen.iter().map(part).sum::<usize>() as f64;
    let overlap = Samples::new(seen.iter().map(|seen| milliseconds(seen.overlap)));
    let took = Samples::new(seen.iter().map(|seen| seen.took.as_secs_f64()));
    let (Some(overlap), Some(took)) = (overlap, took) else {
        return Row::new(name, [0.0]).note("nothing moved");
    };
    let unanswered = Cell::from(sum(|seen| seen.unanswered));
    let overlap = Cell::from(overlap.max());
    let cells = [
        Cell::from(seen.len() as f64),
        if lossless { unanswered.at_most(0.0) } else { unanswered },
        Cell::from(sum(|seen| seen.contested)),
        if lossless { overlap.at_most(OVERLAP) } else { overlap.at_most(0.0) },
        Cell::from(sum(|seen| usize::from(seen.stale))).at_most(0.0),
        took.median().into(),
        took.max().into(),
    ];
    Row::new(name, cells)
}
