//! What a frame costs in the program, by the kernel's own statistics.

use announcer_tests::bpf::Statistics;
use anyhow::{Context, Result, ensure};

use super::{
    Extent, ns_each,
    wires::{AtHook, Frame, HOOKS, Wires},
};
use crate::{
    interrupt,
    plot::Plot,
    progress,
    report::{Cell, Measured, Row, Table},
    samples::Samples,
};

/// More in a round, and the limit of pings a second would be reached.
const PINGS: u32 = 1000;

/// What each kind of frame is called, and what it may cost in nanoseconds.
const KINDS: [(&str, Frame, Option<f64>); 6] = [
    ("ARP request, answered", Frame::Request, Some(110.0)),
    ("ARP request for others", Frame::OtherRequest, Some(42.0)),
    ("ARP request, ends like a VIP", Frame::Lookalike, None),
    ("ARP reply of others", Frame::OtherReply, None),
    ("TCP, 60 bytes", Frame::Tcp, Some(5.0)),
    ("ping, answered", Frame::Ping, None),
];

/// In nanoseconds, one figure for each round.
#[derive(Default)]
struct Cost {
    net: Vec<f64>,
    gross: Vec<f64>,
}

/// Net of the empty program on the other wire of the same hook.
pub(super) fn measure(wires: &Wires, extent: &Extent) -> Result<Measured> {
    progress("what a frame costs in the program");
    let mut costs = KINDS.map(|_| HOOKS.map(|_| Cost::default()));
    let counted = Statistics::enable()?;
    for _ in 0..extent.rounds {
        interrupt::check()?;
        for ((_, frame, _), costs) in KINDS.iter().zip(&mut costs) {
            for (at, cost) in wires.hooks.iter().zip(costs) {
                let (net, gross) = round(at, *frame, extent)?;
                cost.net.push(net);
                cost.gross.push(gross);
            }
        }
    }
    drop(counted);
    let title = "ns a frame in the program, net of an empty one at the same hook";
    let mut table = Table::new(title, HOOKS.map(|hook| hook.flag())).legend(format!(
        "BPF run-time statistics, medians of {} rounds of {} frames ({PINGS} pings); 100 VIPs",
        extent.rounds, extent.frames
    ));
    for ((name, _, goal), costs) in KINDS.into_iter().zip(costs) {
        let mut cells = Vec::new();
        let mut gross = Vec::new();
        for cost in costs {
            let samples = Samples::new(cost.net).zip(Samples::new(cost.gross));
            let (net, all) = samples.context("there are no rounds")?;
            let cell = Cell::median(&net);
            cells.push(goal.map_or(cell, |goal| cell.at_most(goal)));
            gross.push(format!("{:.0}", all.median()));
        }
        let note = format!("with the empty one's: {}", gross.join(", "));
        table.rows.push(Row::new(name, cells).note(note));
    }
    let plots = vec![Plot::bars("programs", &table)];
    Ok(Measured { plots, ..table.into() })
}

/// Net and gross.
fn round(at: &AtHook, kind: Frame, extent: &Extent) -> Result<(f64, f64)> {
    // The same frame to both: the empty program passes it to the kernel.
    let frame = at.announcer.frame(kind);
    let count = if kind == Frame::Ping { PINGS } else { extent.frames };
    let flood = at.empty.flood()?;
    let empty = ns_each(at.empty_program.program(), count, || flood.burst(&frame, count))?;
    let flood = at.announcer.flood()?;
    let before = flood.received()?;
    let full = ns_each(&at.announcer_program, count, || flood.burst(&frame, count))?;
    if matches!(kind, Frame::Request | Frame::Ping) {
        let answers = flood.received()?.saturating_sub(before);
        ensure!(
            answers * 10 >= u64::from(count) * 9,
            "only {answers} of {count} frames were answered at {}: {kind:?}",
            at.hook
        );
    }
    Ok((full - empty, full))
}
