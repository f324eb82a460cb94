//! Replies, and what they take, against those of the kernel for an address of its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{
    Extent, and_hooks,
    flood::Taken,
    patiently,
    wires::{Frame, Wire, Wires},
};
use crate::{
    interrupt,
    process::SoftIrqThreads,
    progress,
    report::{Cell, Measured, Row, Table},
    samples::Samples,
};

/// CPU for a reply, in times what the kernel takes for its own.
const GOAL: f64 = 0.8;
/// In a round. A round takes longer than half a second, and in each second 10,000 are
/// answered.
const PINGS: u32 = 4000;

/// What one side did, round by round.
#[derive(Default)]
struct Side {
    arp: Kind,
    ping: Kind,
    /// In microseconds.
    latencies: Vec<f64>,
}

#[derive(Default)]
struct Kind {
    replies_a_second: Vec<f64>,
    /// Microseconds, without the client's sending.
    cpu: Vec<f64>,
}

pub(super) fn measure(wires: &Wires, extent: &Extent) -> Result<Measured> {
    let wires_of_sides: Vec<_> = [&wires.kernel].into_iter().chain(wires.announcers()).collect();
    let mut sides: Vec<Side> = wires_of_sides.iter().map(|_| Side::default()).collect();
    progress("latency of replies at 1 kHz");
    for _ in 0..extent.rounds {
        interrupt::check()?;
        for (wire, side) in wires_of_sides.iter().zip(&mut sides) {
            side.latencies.extend(latencies(wire, extent.requests)?);
        }
    }
    progress("replies under a flood of requests");
    let softirq = SoftIrqThreads::find()?;
    for _ in 0..extent.rounds {
        interrupt::check()?;
        let sending = arp(&wires.off, extent.flood, &softirq)?.us_a_request();
        for (wire, side) in wires_of_sides.iter().zip(&mut sides) {
            patiently(|| side.arp.add(arp(wire, extent.flood, &softirq)?, sending))?;
            let (flood, ping) = (wire.flood()?, wire.frame(Frame::Ping));
            patiently(|| side.ping.add(flood.some_requests(&ping, PINGS, &softirq)?, sending))?;
        }
    }

    let mut table =
        Table::new("Replies, against those of the kernel", and_hooks("kernel")).legend(format!(
            "one thread asks, {} rounds; ARP for {:?}, ping in bursts of {PINGS}; CPU without \
             the asker's system call up to its own end of the cable",
            extent.rounds, extent.flood
        ));
    for (name, part) in [("ARP", (|side| &side.arp) as fn(&Side) -> &Kind), ("ping", |s| &s.ping)] {
        let rates = medians(&sides, |side| part(side).replies_a_second.clone())?;
        table.rows.push(Row::new(format!("{name}: thousand replies a second"), rates));
        let cpu = medians(&sides, |side| part(side).cpu.clone())?;
        table.rows.push(Row::new(format!("{name}: CPU a reply, us"), cpu));
        let kernels = sides.first().map(|side| part(side).cpu.clone()).unwrap_or_default();
        let mut of_the_kernels = vec![Cell::default()];
        for side in sides.iter().skip(1) {
            let ratios = ratios(&part(side).cpu, &kernels).context("there are no rounds")?;
            of_the_kernels.push(Cell::median(&ratios).at_most(GOAL));
        }
        table.rows.push(Row::new(format!("{name}: CPU, of the kernel's"), of_the_kernels));
    }
    for (name, percent) in [("median", 50), ("p99", 99)] {
        let of = |side: &Side| {
            let samples = Samples::new(side.latencies.iter().copied());
            samples.map(|samples| samples.percentile(percent))
        };
        let name = format!("ARP: latency at 1 kHz, {name}, us");
        table.rows.push(Row::new(name, sides.iter().map(of)));
    }
    Ok(table.into())
}

fn medians(sides: &[Side], of: impl Fn(&Side) -> Vec<f64>) -> Result<Vec<Cell>> {
    let cell = |side| Some(Cell::median(&Samples::new(of(side))?));
    sides.iter().map(|side| cell(side).context("there are no rounds")).collect()
}

/// Of what was measured in the same rounds.
fn ratios(ours: &[f64], theirs: &[f64]) -> Option<Samples> {
    Samples::new(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
}

impl Kind {
    /// `sending`: microseconds of the client's CPU for each request.
    fn add(&mut self, taken: Taken, sending: f64) -> Result<()> {
        let answered = taken.answered();
        ensure!(answered > 0.9, "only {answered:.2} of a flood was answered: {taken:?}");
        self.replies_a_second.push(taken.answers_a_second() / 1e3);
        self.cpu.push((taken.us_a_request() - sending) / answered);
        Ok(())
    }
}

fn arp(wire: &Wire, length: Duration, softirq: &SoftIrqThreads) -> Result<Taken> {
    wire.flood()?.requests(&wire.frame(Frame::Request), length, softirq)
}

/// Microseconds, as the client sees it: from before the request is sent until its kernel
/// has the reply.
fn latencies(wire: &Wire, requests: usize) -> Result<Vec<f64>> {
    let probe = wire.probe()?;
    probe.wait_requests(requests)?;
    let recording = probe.stop()?;
    let (asked, unanswered) = (recording.requests.len(), recording.unanswered());
    ensure!(unanswered * 100 <= asked, "{unanswered} of {asked} requests were not answered");
    let first = recording.requests.iter().filter_map(|request| request.answers.first());
    Ok(first.map(|answer| answer.latency().as_secs_f64() * 1e6).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let ratios = ratios(&[1.0, 8.0, 3.0], &[2.0, 4.0, 6.0]).unwrap();
        assert_eq!((ratios.min(), ratios.median(), ratios.max()), (0.5, 0.5, 2.0));
        assert_eq!(super::ratios(&[1.0], &[]), None);
    }

    #[test]
    fn what_the_client_takes_to_send_is_not_counted() {
        let taken = Taken {
            requests: 1000,
            answers: 950,
            cpu: Duration::from_millis(2),
            elapsed: Duration::from_millis(4),
        };
        let mut kind = Kind::default();
        kind.add(taken, 1.05).unwrap();
        assert!((kind.cpu[0] - 1.0).abs() < 1e-9, "{:?}", kind.cpu);
        assert!((kind.replies_a_second[0] - 237.5).abs() < 1e-9, "{:?}", kind.replies_a_second);
        assert!(kind.add(Taken { answers: 10, ..taken }, 1.05).is_err());
    }
}
