//! `cargo xtask bench`: measures, and prints each figure beside its goal.
//!
//! Compared figures are always taken in one run, in turns, so that whatever else the
//! machine does falls on both alike.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod addresses;
mod datapath;
mod failover;
mod interrupt;
mod plot;
mod process;
mod report;
mod samples;
mod scale;
mod settle;

use std::{path::PathBuf, process::ExitCode};

use announcer_tests::{cluster::Plane, controlplane};
use anyhow::Result;
use clap::{Parser, Subcommand};

use self::report::Report;

/// Measures the announcer in network namespaces on this machine.
///
/// Needs root. Touches nothing outside its own network namespaces, except that the kernel's BPF
/// statistics are on while `datapath` measures programs. A goal that is missed is no failure.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", version, max_term_width = 100)]
struct Args {
    /// What to measure.
    #[command(subcommand)]
    bench: Bench,
    /// Fewer and shorter rounds: to see that it works, not to quote.
    #[arg(long, global = true)]
    quick: bool,
    /// Where to write the figures as JSON [default: target/bench/<BENCH>.json, or
    /// <BENCH>-real.json with a real control plane]
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the default of --json is.
    #[arg(long, hide = true, global = true, env = "BENCH_DIR", default_value = "target/bench")]
    directory: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// At each hook: what a frame costs, in the program and in all; TCP throughput; replies
    /// against the kernel's; with 1 to 60,000 VIPs (five minutes).
    Datapath(datapath::Args),
    /// Crashes, planned moves, the same failures with keepalived, Service address to first
    /// answer, and what it takes at rest (half an hour).
    Failover(failover::Args),
    /// API requests and watch events at rest as the cluster grows; what 5,000 VIPs take (a quarter
    /// of an hour).
    Scale(scale::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    interrupt::catch();
    controlplane::without_tests();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What fails after Ctrl-C fails because the announcers have had it too.
            let error = interrupt::check().err().unwrap_or(error);
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let (bench, plane, measured) = match &args.bench {
        Bench::Datapath(parts) => ("datapath", None, datapath::measure(parts, args.quick)?),
        Bench::Failover(parts) => {
            let plane = Some(parts.control_plane);
            ("failover", plane, failover::measure(parts, args.quick)?)
        }
        Bench::Scale(parts) => ("scale", Some(Plane::Embedded), scale::measure(parts, args.quick)?),
    };
    let report = Report { bench, plane, quick: args.quick, measured };
    print!("{report}");
    let default = || args.directory.join(report.file_name());
    let file = args.json.clone().unwrap_or_else(default);
    println!();
    for written in report.write(&file)? {
        println!("written to {}", written.display());
    }
    Ok(())
}

/// What is being done, for a person who waits.
fn progress(what: &str) {
    eprintln!("bench: {what}");
}
