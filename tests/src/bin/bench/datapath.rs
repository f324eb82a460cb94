//! `bench datapath`: what the program costs per frame at each hook, and how its replies
//! compare with the kernel's.

use std::time::Duration;

use announcer_tests::bpf::{Hook, Program, Runs, Statistics};
use anyhow::{Context, Result, ensure};

use crate::{
    flood::Flood,
    interrupt,
    process::SoftIrqThreads,
    progress,
    report::Figure,
    samples::Samples,
    wires::{AtHook, Frame, Wire, Wires},
};

/// How much is measured.
struct Extent {
    /// Rounds of each part; each round measures both sides.
    rounds: usize,
    /// Frames of each kind in a round, for the cost of the program.
    frames: u32,
    /// Requests of the probe in a round, at 1 kHz.
    requests: usize,
    /// A flood.
    flood: Duration,
}

const FULL: Extent =
    Extent { rounds: 21, frames: 20_000, requests: 500, flood: Duration::from_millis(500) };
const QUICK: Extent =
    Extent { rounds: 5, frames: 5_000, requests: 200, flood: Duration::from_millis(200) };

pub(crate) fn measure(quick: bool) -> Result<Vec<Figure>> {
    let extent = if quick { QUICK } else { FULL };
    progress("making wires, and starting the announcer");
    let wires = Wires::new()?;
    let mut figures = Vec::new();
    for at in &wires.hooks {
        figures.extend(programs(at, &extent)?);
    }
    figures.extend(latency(&wires, &extent)?);
    figures.extend(flood(&wires, &extent)?);
    Ok(figures)
}

/// A kind of frame, and what it cost in each round, in nanoseconds.
struct Cost {
    name: &'static str,
    frame: Frame,
    goal: Option<f64>,
    net: Vec<f64>,
    gross: Vec<f64>,
}

impl Cost {
    const fn of(name: &'static str, frame: Frame, goal: Option<f64>) -> Self {
        Self { name, frame, goal, net: Vec::new(), gross: Vec::new() }
    }

    fn figure(self, hook: Hook) -> Result<Figure> {
        let samples = Samples::new(self.net).zip(Samples::new(self.gross));
        let (net, gross) = samples.context("there are no rounds")?;
        let name = format!("{hook}: {}, net of an empty program", self.name);
        let figure = Figure::median(name, "ns", &net);
        let figure = figure.detail("gross", gross.median());
        Ok(Figure { goal: self.goal, ..figure })
    }
}

/// By the kernel's statistics, net of the empty program on the other wire.
fn programs(at: &AtHook, extent: &Extent) -> Result<Vec<Figure>> {
    progress(&format!("what a frame costs in the program at {}", at.hook));
    let mut costs = [
        Cost::of("a reply", Frame::Request, Some(110.0)),
        Cost::of("a request for somebody else", Frame::OtherRequest, Some(42.0)),
        Cost::of("the same, with the last 16 bits of a VIP", Frame::Lookalike, None),
        Cost::of("a reply of others", Frame::OtherReply, None),
        Cost::of("a TCP frame of 60 bytes", Frame::Tcp, Some(5.0)),
    ];
    let _counted = Statistics::enable()?;
    let floods = (at.announcer.flood()?, at.empty.flood()?);
    for _ in 0..extent.rounds {
        interrupt::check()?;
        for cost in &mut costs {
            // The same frame to both: the empty program passes it to the kernel.
            let frame = at.announcer.frame(cost.frame);
            let empty = ns_each(at.empty_program.program(), &floods.1, &frame, extent.frames)?;
            let full = ns_each(&at.announcer_program, &floods.0, &frame, extent.frames)?;
            cost.net.push(full - empty);
            cost.gross.push(full);
        }
    }
    costs.into_iter().map(|cost| cost.figure(at.hook)).collect()
}

/// Nanoseconds a run.
fn ns_each(program: &Program, flood: &Flood<'_>, frame: &[u8], count: u32) -> Result<f64> {
    let before = Runs::of(program)?;
    flood.burst(frame, count)?;
    let after = Runs::of(program)?;
    let ran = after.count - before.count;
    // Others may send a frame too, and now and then the kernel's backlog is full.
    let expected = u64::from(count);
    ensure!(
        expected * 9 / 10 <= ran && ran <= expected * 11 / 10,
        "the program ran {ran} times for {expected} frames"
    );
    after.ns_each_since(before).context("the program did not run")
}

/// As the client sees it: from before the request is sent until its kernel has the reply.
fn latency(wires: &Wires, extent: &Extent) -> Result<Vec<Figure>> {
    progress("latency of replies at 1 kHz");
    let (mut ours, mut kernels) = (Vec::new(), Vec::new());
    for _ in 0..extent.rounds {
        interrupt::check()?;
        ours.extend(latencies(&wires.best().announcer, extent.requests)?);
        kernels.extend(latencies(&wires.kernel, extent.requests)?);
    }
    let samples = Samples::new(ours).zip(Samples::new(kernels));
    let (ours, kernels) = samples.context("nobody answered")?;
    let figures = [("median", 50), ("p99", 99)].map(|(name, percent)| {
        let (us, kernel) = (ours.percentile(percent), kernels.percentile(percent));
        Figure::new(format!("reply latency at 1 kHz, {name}"), "us", us)
            .detail("kernel", kernel)
            .detail("ratio", us / kernel)
            .detail("n", ours.len() as f64)
    });
    Ok(figures.into())
}

/// Microseconds.
fn latencies(wire: &Wire, requests: usize) -> Result<Vec<f64>> {
    let probe = wire.probe()?;
    probe.wait_requests(requests)?;
    let recording = probe.stop()?;
    let (asked, unanswered) = (recording.requests.len(), recording.unanswered());
    ensure!(unanswered * 100 <= asked, "{unanswered} of {asked} requests were not answered");
    let first = recording.requests.iter().filter_map(|request| request.answers.first());
    Ok(first.map(|answer| answer.latency().as_secs_f64() * 1e6).collect())
}

/// All the CPU that a request and its answer take, less what the client's system call
/// takes up to its own end of the cable. What the client's kernel does with the reply is
/// the same on both sides and still included.
fn flood(wires: &Wires, extent: &Extent) -> Result<Vec<Figure>> {
    progress("CPU under a flood of requests");
    let softirq = SoftIrqThreads::find()?;
    let take =
        |wire: &Wire| wire.flood()?.requests(&wire.frame(Frame::Request), extent.flood, &softirq);
    let mut rounds = Vec::new();
    for _ in 0..extent.rounds {
        interrupt::check()?;
        let taken = [take(&wires.best().announcer)?, take(&wires.kernel)?];
        let sending = take(&wires.off)?.us_a_request();
        let mut each = [0.0; 2];
        for (us, taken) in each.iter_mut().zip(taken) {
            let answered = taken.answered();
            ensure!(answered > 0.9, "only {answered:.2} of a flood was answered: {taken:?}");
            *us = (taken.us_a_request() - sending) / answered;
        }
        let [ours, kernel] = each;
        rounds.push((ours, kernel, sending));
    }
    let of = |part: fn(&(f64, f64, f64)) -> f64| {
        Samples::new(rounds.iter().map(part)).context("there are no rounds")
    };
    let ratio = of(|(ours, kernel, _)| ours / kernel)?;
    let gross = of(|(ours, kernel, sending)| (ours + sending) / (kernel + sending))?;
    let (ours, kernel) = (of(|round| round.0)?, of(|round| round.1)?);
    Ok(vec![
        Figure::median("CPU per answered request, of the kernel's", "x", &ratio)
            .at_most(0.8)
            .detail("with the client's sending", gross.median()),
        Figure::median("CPU per answered request", "us", &ours)
            .detail("kernel", kernel.median())
            .detail("the client's sending", of(|round| round.2)?.median()),
    ])
}
