//! `bench scale`: what grows with the cluster, and what must not.

mod fleet;
mod sweep;
mod traffic;
mod vips;
mod watches;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::report::Measured;

/// What to measure as the cluster grows.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Nothing but this; repeatable.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Another number of VIPs than the default ones; repeatable.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    vips: Vec<u32>,
    /// Another number of nodes than the default ones; repeatable.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5000))]
    nodes: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// API requests, CPU and memory at rest, and time to own them: 3 nodes, 1 to 5,000 VIPs.
    Vips,
    /// Watch events and API requests at rest: 3 to 300 nodes.
    Watches,
}

/// How much is measured.
struct Extent {
    vips: &'static [u32],
    nodes: &'static [u32],
    rest: Duration,
}

const FULL: Extent =
    Extent { vips: &[1, 100, 5000], nodes: &[3, 30, 300], rest: Duration::from_secs(65) };
const QUICK: Extent =
    Extent { vips: &[1, 100, 500], nodes: &[3, 30], rest: Duration::from_secs(10) };

pub(crate) fn measure(args: &Args, quick: bool) -> Result<Measured> {
    let extent = if quick { QUICK } else { FULL };
    let or = |given: &[u32], default: &[u32]| {
        if given.is_empty() { default.to_vec() } else { given.to_vec() }
    };
    let mut measured = Measured::default();
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Vips) {
        measured.add(vips::measure(&or(&args.vips, extent.vips), extent.rest)?);
    }
    if wanted(Part::Watches) {
        measured.add(watches::measure(&or(&args.nodes, extent.nodes), extent.rest)?);
    }
    Ok(measured)
}
