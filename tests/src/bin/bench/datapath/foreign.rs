//! What it costs the machine that a program is there, for frames that are not for us.

use anyhow::{Context, Result};

use super::{
    Extent, NO_PROGRAM, and_hooks,
    wires::{Frame, Wires},
};
use crate::{
    interrupt,
    plot::Plot,
    process::SoftIrqThreads,
    progress,
    report::{Cell, Measured, Row, Table},
    samples::Samples,
};

/// What tcx may add, in nanoseconds.
const GOAL: f64 = 70.0;

/// All the CPU from the sender's system call to where the receiver's stack drops the
/// frame.
pub(super) fn measure(wires: &Wires, extent: &Extent) -> Result<Measured> {
    progress("CPU time of foreign frames");
    let softirq = SoftIrqThreads::find()?;
    let sides: Vec<_> = [&wires.kernel].into_iter().chain(wires.announcers()).collect();
    let mut rounds = Vec::new();
    for _ in 0..extent.rounds {
        interrupt::check()?;
        let ns = sides.iter().map(|wire| {
            let taken = wire.flood()?.requests(&wire.frame(Frame::Tcp), extent.flood, &softirq)?;
            Ok(taken.us_a_request() * 1e3)
        });
        rounds.push(ns.collect::<Result<Vec<f64>>>()?);
    }

    let title = "CPU time of a foreign TCP frame of 60 bytes, ns";
    let mut table = Table::new(title, and_hooks(NO_PROGRAM)).legend(format!(
        "from the sender's system call to the end of the receiver's stack; medians of {} rounds \
         of {:?}",
        extent.rounds, extent.flood
    ));
    let in_all = (0..sides.len()).map(|n| median(&rounds, |side, _| side, n));
    table.rows.push(Row::new("in all", in_all.collect::<Result<Vec<_>>>()?));
    let mut more = vec![Cell::default()];
    for n in 1..sides.len() {
        let cell = median(&rounds, |side, without| side - without, n)?;
        // The first hook is tcx.
        more.push(if n == 1 { cell.at_most(GOAL) } else { cell });
    }
    table.rows.push(Row::new("more than with no program", more));
    let plots = vec![Plot::bars("foreign", &table)];
    Ok(Measured { plots, ..table.into() })
}

/// Of what a side took in each round, beside what the first took in the same.
fn median(rounds: &[Vec<f64>], compare: fn(f64, f64) -> f64, side: usize) -> Result<Cell> {
    let each = rounds.iter().filter_map(|round| Some(compare(*round.get(side)?, *round.first()?)));
    Ok(Cell::median(&Samples::new(each).context("there are no rounds")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_compared_within_a_round() {
        let rounds = [vec![500.0, 540.0], vec![900.0, 930.0], vec![600.0, 650.0]];
        let more = median(&rounds, |side, without| side - without, 1).unwrap();
        assert_eq!(more.value(), Some(40.0));
        assert_eq!(median(&rounds, |side, _| side, 1).unwrap().value(), Some(650.0));
        assert!(median(&rounds, |side, _| side, 2).is_err());
    }
}
