//! `cargo xtask lab`: shows a person what the announcer does, live and with times.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod interrupt;
mod maps;
mod show;
mod stay;
mod story;

use std::{process::ExitCode, time::Duration};

use announcer_tests::{
    cluster::{Cluster, Plane, Timing},
    controlplane,
    timeline::Style,
};
use anyhow::Result;
use clap::Parser;

use self::{interrupt::Interrupts, story::Story};

/// Builds a cluster out of network namespaces on this machine, lets the announcer hold a
/// Service's address in it, crashes the holder, and shows what happens on the wire.
///
/// Needs root. Touches nothing outside its own network namespaces. The exit code is 0 only if
/// everything went as it should.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask lab", version, max_term_width = 100)]
struct Args {
    /// Stay up at the end, and print commands to try, until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_name = "2..9", value_parser = clap::value_parser!(u8).range(2..=9))]
    nodes: u8,
    /// How long a silent node stays in possession of its addresses.
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = humantime::parse_duration)]
    lease_duration: Duration,
    /// How often a node renews its lease.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = humantime::parse_duration)]
    renew_interval: Duration,
    /// Which API server: one that is part of the lab, or a real control plane with kube-proxy.
    #[arg(long, value_name = "KIND", default_value = "embedded")]
    control_plane: Plane,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nlab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went as it should.
fn run(args: &Args) -> Result<bool> {
    let Args { stay, nodes, lease_duration, renew_interval, control_plane } = *args;
    controlplane::without_tests();
    let interrupts = Interrupts::catch()?;
    let timing = Timing { lease: lease_duration, renew: renew_interval };
    let story = Story::begin(Style::of_stdout());
    story.title(&format!(
        "The announcer in a lab: {nodes} nodes, a client and {} in network namespaces",
        match control_plane {
            Plane::Embedded => "an API server",
            Plane::Real => "a real control plane",
        }
    ));
    let mut cluster = Cluster::new(control_plane, nodes, timing, [])?;
    interrupts.remove_if_killed(&cluster);
    let shown = show::run(&mut cluster, &story)?;
    if stay {
        stay::until_interrupted(&cluster, &story, &interrupts, shown.crashed)?;
    }
    drop(shown.backend);
    Ok(shown.faultless)
}
