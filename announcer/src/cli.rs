//! The command line: typed flags, each with an environment twin.

mod cluster;
mod doctor;
mod explain;
mod man;
mod probe;
mod run;
mod status;
mod switch;
mod timing;
mod value;
mod wire;

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Arg, CommandFactory as _, Parser, Subcommand, ValueEnum};

use self::switch::Switch;
pub use self::{
    cluster::{ApiArgs, DEFAULT_NAMESPACE, KubernetesArgs, SelectionArgs},
    doctor::DoctorArgs,
    explain::{ExplainArgs, OverviewArgs},
    man::write_man_pages,
    probe::ProbeArgs,
    run::{AnnouncementArgs, ObservabilityArgs, OwnershipArgs, RunArgs},
    status::{OutputFormat, StatusArgs},
    timing::TimingArgs,
    wire::WireArgs,
};
use crate::settings::field_of;

/// Layer-2 announcement of Kubernetes service addresses.
///
/// Answers ARP for the virtual IPs that this node holds, from a BPF program on
/// its uplink; decides by Kubernetes Leases which node holds which.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 orderly end, 1 unexpected, 2 wrong usage or configuration, \
    3 not permitted (explain: it cannot be told), 4 kernel too old, 5 somebody else is there (another daemon or XDP program), \
    6 an address is answered by nobody or a Service not announced, 7 a check of doctor failed, \
    8 an address is answered by two stations, 9 the daemon is stopped or stuck.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to write the log (to standard error).
    #[arg(
        long,
        global = true,
        env = "ANNOUNCER_LOG_FORMAT",
        default_value = "human",
        value_name = "FORMAT",
        help_heading = EVERYWHERE
    )]
    pub log_format: LogFormat,
    /// What to log: a level, or directives.
    ///
    /// Like `announcer::ownership=debug,info`. The Kubernetes client need not say again what
    /// the announcer says of its requests.
    #[arg(
        long,
        global = true,
        env = "ANNOUNCER_LOG",
        default_value = "info,kube_client=off,kube_runtime=off",
        value_name = "FILTER",
        help_heading = EVERYWHERE
    )]
    pub log: String,
    /// A YAML file with settings.
    ///
    /// Each flag of `announcer run` in camel case, like `leaseDuration: 3s`. Flags and
    /// environment go before it.
    #[arg(
        long,
        global = true,
        env = "ANNOUNCER_CONFIG",
        value_name = "FILE",
        help_heading = EVERYWHERE
    )]
    pub config: Option<PathBuf>,
}

/// The heading of what every command has.
const EVERYWHERE: &str = "Log and settings file";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    ///
    /// It attaches its program to the uplink, takes part in the ownership of VIPs, and answers
    /// for those that it holds. SIGTERM and SIGINT end it in order: its VIPs are given away
    /// first.
    Run(Box<RunArgs>),
    /// Show what the daemon of this network namespace holds, answers and waits for.
    ///
    /// Without a daemon: what is attached and pinned.
    Status(Box<StatusArgs>),
    /// Ask the daemon of this network namespace whether its loops turn.
    ///
    /// Exit code 0 or 1: for liveness probes. Reads no file.
    Live,
    /// Say why a Service or an address is, or is not, announced, and what to do.
    ///
    /// From any machine with a kubeconfig.
    Explain(Box<ExplainArgs>),
    /// Remove what a killed daemon left attached and pinned in this network namespace.
    ///
    /// And what is pinned in others for interfaces that are no more.
    Detach,
    /// Say whether this machine can announce, and what to do where it cannot.
    ///
    /// Changes nothing, and disturbs no daemon that runs. Flags of `announcer run` are taken
    /// with the same meaning: it judges whether a daemon with these could run.
    Doctor(Box<DoctorArgs>),
    /// Ask on the wire who answers for an address, without changing any neighbour table.
    Probe(Box<ProbeArgs>),
    /// Check the settings of `announcer run`, and print those in effect.
    ///
    /// Each with where it comes from, as a file for --config. Nothing is started.
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

/// The command line as it is shown: `--help` and the man pages say of each flag what it is
/// called in the environment and in a file, `-h` does not.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let run = command.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments);
    let fields: BTreeSet<_> = command
        .get_arguments()
        .chain(run)
        .filter_map(|arg| arg.get_env())
        .map(Into::into)
        .collect();
    let with_twins = |arg: Arg| with_twins(arg, &fields);
    command.mut_args(with_twins).mut_subcommands(|subcommand| subcommand.mut_args(with_twins))
}

/// The file has what `announcer run` has.
fn with_twins(arg: Arg, fields: &BTreeSet<std::ffi::OsString>) -> Arg {
    let (Some(flag), Some(variable)) = (arg.get_long(), arg.get_env()) else { return arg };
    let help = match (arg.get_long_help(), arg.get_help()) {
        (Some(long), _) => long.to_string(),
        (None, short) => short.map(|short| format!("{short}.")).unwrap_or_default(),
    };
    let mut twins = format!("[env: {}]", variable.to_string_lossy());
    if fields.contains(variable) && flag != "config" {
        twins += &format!(" [file: {}]", field_of(flag));
    }
    arg.long_help(format!("{}\n\n{twins}", help.trim_end())).hide_env(true)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
