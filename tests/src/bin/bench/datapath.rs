//! `bench datapath`: what frames cost at each hook, in the program and in all, and how
//! replies compare with the kernel's.

mod echo;
mod entries;
mod flood;
mod foreign;
mod programs;
mod replies;
mod throughput;
mod wires;

use std::time::Duration;

use announcer_tests::{
    bpf::{Program, Runs},
    netns,
};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use self::wires::{HOOKS, Wires};
use crate::{interrupt, progress, report::Measured};

/// What to measure of the data path.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Nothing but this; repeatable.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Time in the program for each kind of frame.
    Programs,
    /// CPU time of frames that are nobody's business here, against no program at all.
    Foreign,
    /// ARP and ping, against the kernel's own answers.
    Replies,
    /// Time in the program with 1, 5,000 and 60,000 VIPs.
    Entries,
    /// One TCP stream, against no program at all.
    Throughput,
}

/// How much is measured.
struct Extent {
    /// Rounds of each part; each round measures all sides.
    rounds: usize,
    /// Frames of each kind in a round, for the cost of the program.
    frames: u32,
    /// Requests of the probe in a round, at 1 kHz.
    requests: usize,
    /// A flood.
    flood: Duration,
    /// Rounds of TCP streams, one second each.
    streams: usize,
}

const FULL: Extent = Extent {
    rounds: 21,
    frames: 20_000,
    requests: 300,
    flood: Duration::from_millis(300),
    streams: 13,
};
const QUICK: Extent = Extent {
    rounds: 5,
    frames: 5_000,
    requests: 200,
    flood: Duration::from_millis(200),
    streams: 2,
};

const ATTEMPTS: u32 = 20;
const BREATH: Duration = Duration::from_millis(50);

/// A side of a comparison without any BPF program.
const NO_PROGRAM: &str = "no program";

pub(crate) fn measure(args: &Args, quick: bool) -> Result<Measured> {
    let extent = if quick { QUICK } else { FULL };
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let mut measured = Measured::default();
    netns::ensure_bpffs()?;
    if [Part::Programs, Part::Foreign, Part::Replies].into_iter().any(wanted) {
        progress("making wires, and starting announcers");
        let wires = Wires::new()?;
        if wanted(Part::Programs) {
            measured.add(programs::measure(&wires, &extent)?);
        }
        if wanted(Part::Foreign) {
            measured.add(foreign::measure(&wires, &extent)?);
        }
        if wanted(Part::Replies) {
            measured.add(replies::measure(&wires, &extent)?);
        }
    }
    if wanted(Part::Entries) {
        measured.add(entries::measure(&extent)?);
    }
    if wanted(Part::Throughput) {
        measured.add(throughput::measure(&extent)?);
    }
    Ok(measured)
}

/// [`NO_PROGRAM`] or another name, and then the hooks.
fn and_hooks(first: &'static str) -> impl Iterator<Item = &'static str> {
    [first].into_iter().chain(HOOKS.map(|hook| hook.flag()))
}

/// Nanoseconds a run of the program, while `send` sends so many frames to it.
fn ns_each(program: &Program, count: u32, send: impl Fn() -> Result<()>) -> Result<f64> {
    patiently(|| {
        let before = Runs::of(program)?;
        send()?;
        let after = Runs::of(program)?;
        let ran = after.count - before.count;
        // Others may send a frame too.
        let expected = u64::from(count);
        ensure!(
            expected * 9 / 10 <= ran && ran <= expected * 11 / 10,
            "the program ran {ran} times for {expected} frames"
        );
        after.ns_each_since(before).context("the program did not run")
    })
}

/// Measures again if it fails. Where others want the CPU, soft interrupts are put off, and
/// the kernel's backlog is full after 1,000 frames.
fn patiently<T>(mut measure: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..ATTEMPTS {
        if let Ok(measured) = measure() {
            return Ok(measured);
        }
        interrupt::pause(BREATH)?;
    }
    measure()
}
