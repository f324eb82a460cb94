//! The command line: typed flags, each with an environment twin.

mod cluster;
mod doctor;
mod explain;
mod probe;
mod run;
mod status;
mod switch;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use self::switch::Switch;
pub use self::{
    cluster::{ApiArgs, DEFAULT_NAMESPACE, SelectionArgs},
    doctor::DoctorArgs,
    explain::{ExplainArgs, OverviewArgs},
    probe::ProbeArgs,
    run::{ClusterArgs, RunArgs},
    status::{OutputFormat, StatusArgs},
};

/// Layer-2 announcement of Kubernetes service addresses.
///
/// Answers ARP for the virtual IPs that this node holds, from a BPF program on
/// its uplink; decides by Kubernetes Leases which node holds which.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 orderly end, 1 unexpected, 2 wrong usage or configuration, \
    3 not permitted, 4 kernel too old, 5 somebody else is there (another daemon or XDP program), \
    6 an address is answered by nobody or a Service not announced, 7 a check of doctor failed, \
    8 an address is answered by two stations.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to write the log (to standard error).
    #[arg(long, global = true, env = "ANNOUNCER_LOG_FORMAT", default_value = "human")]
    pub log_format: LogFormat,
    /// What to log: a level, or directives like `announcer::ownership=debug,info`. The
    /// Kubernetes client need not say again what the announcer says of its requests.
    #[arg(
        long,
        global = true,
        env = "ANNOUNCER_LOG",
        default_value = "info,kube_client=off,kube_runtime=off",
        value_name = "FILTER"
    )]
    pub log: String,
    /// A YAML file with settings: each flag of `announcer run` in camel case, like
    /// `leaseDuration: 3s`. Flags and environment go before it.
    #[arg(long, global = true, env = "ANNOUNCER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: attach, take part in the ownership of VIPs, answer.
    Run(Box<RunArgs>),
    /// Show what the daemon of this network namespace holds, answers and waits for; or,
    /// without a daemon, what is attached and pinned.
    Status(Box<StatusArgs>),
    /// Ask the daemon of this network namespace whether its loops turn; exit 0 or 1: for
    /// liveness probes. Reads no file.
    Live,
    /// Say why a Service or an address is, or is not, announced, and what to do: from any
    /// machine with a kubeconfig.
    Explain(Box<ExplainArgs>),
    /// Remove what a killed daemon left attached and pinned in this network namespace.
    Detach,
    /// Say whether this machine can announce, and what to do where it cannot. Changes
    /// nothing, and disturbs no daemon that runs.
    Doctor(Box<DoctorArgs>),
    /// Ask on the wire who answers for an address, without changing any neighbour table.
    Probe(Box<ProbeArgs>),
    /// Check the settings of `announcer run` and print those in effect, each with where it
    /// comes from, as a file for --config. Nothing is started.
    Config(Box<RunArgs>),
    /// Print a script that completes the command line in a shell.
    Completions {
        /// Which one.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory.
    Man {
        /// Made if it is missing.
        directory: PathBuf,
    },
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}
