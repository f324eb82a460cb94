//! `bench failover`: how soon another node answers when one is gone, what planned moves
//! lose, how keepalived compares, how soon a new Service is answered, and what a cluster
//! at rest costs.

mod contest;
mod crash;
mod keepalived;
mod moves;
mod planned;
mod rebalance;
mod requests;
mod rest;
mod service;

use std::{net::Ipv4Addr, time::Duration};

use announcer_tests::{
    cluster::{Cluster, Plane, Timing},
    lab::CLIENT_NIC,
    probe::{Probe, ProbeHandle},
};
use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::report::Measured;

const NODES: u8 = 3;
/// Time for a fence, many times over, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_secs(30);

/// So that nothing moves but what is measured.
const STAY: [&str; 2] = ["--rebalance-rate", "0"];

/// The quicker of the two timings that have goals.
const FAST: Timing =
    Timing { lease: Duration::from_millis(800), renew: Duration::from_millis(200) };

/// What to measure of failover.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many crashes with each timing [default: 50, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Nothing but this; repeatable.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// With which API server.
    #[arg(long, value_name = "KIND", default_value = "embedded")]
    pub(crate) control_plane: Plane,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// All links of the holder cut: at the default and at the fast timing.
    Crash,
    /// Planned moves, and the carrier of the holder's uplink.
    Moves,
    /// The same failures with keepalived, side by side.
    Keepalived,
    /// From a Service's address to the first answer.
    Service,
    /// CPU, memory and API requests at rest.
    Rest,
    /// API requests at rest by verb and resource: with a real control plane only.
    Requests,
}

/// How much is measured.
struct Extent {
    crashes: u32,
    moves: u32,
    contests: u32,
    services: u32,
    rest: Duration,
    requests: Duration,
}

const FULL: Extent = Extent {
    crashes: 50,
    moves: 10,
    contests: 3,
    services: 25,
    rest: Duration::from_secs(30),
    requests: Duration::from_secs(125),
};
const QUICK: Extent = Extent {
    crashes: 3,
    moves: 2,
    contests: 1,
    services: 5,
    rest: Duration::from_secs(10),
    requests: Duration::from_secs(65),
};

pub(crate) fn measure(args: &Args, quick: bool) -> Result<Measured> {
    let extent = if quick { QUICK } else { FULL };
    let crashes = args.runs.unwrap_or(extent.crashes);
    let plane = args.control_plane;
    ensure!(
        plane == Plane::Real || !args.only.contains(&Part::Requests),
        "requests are measured with a real control plane only: add --control-plane real"
    );
    let mut measured = Measured::default();
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Crash) {
        measured.add(crash::measure(plane, crashes)?);
    }
    if wanted(Part::Moves) {
        measured.add(moves::measure(plane, extent.moves)?);
    }
    if wanted(Part::Keepalived) {
        measured.add(contest::measure(extent.contests)?);
    }
    if wanted(Part::Service) {
        measured.add(vec![service::measure(plane, extent.services)?]);
    }
    if wanted(Part::Rest) {
        measured.add(rest::measure(plane, extent.rest)?);
    }
    if wanted(Part::Requests) && plane == Plane::Real {
        measured.add(requests::measure(extent.requests)?);
    }
    Ok(measured)
}

fn probe(cluster: &Cluster, vip: Ipv4Addr) -> Result<ProbeHandle> {
    Probe::new(vip).start(cluster.lab().client(), CLIENT_NIC)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
