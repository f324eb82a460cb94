//! Flags of `announcer doctor`.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

use super::{
    KubernetesArgs, OutputFormat, Switch as _, TimingArgs, WireArgs,
    cluster::{KUBERNETES, SELECTION},
    timing::OWNERSHIP,
    wire::WIRE,
};

/// Flags of `announcer doctor`: what `announcer run` will be given, and some of its own.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes: 0 no check failed, 7 one did; others as of every command.")]
pub struct DoctorArgs {
    /// How to write it (to standard output).
    #[arg(short, long, env = "ANNOUNCER_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Leave out the API server, rights and the Node.
    #[arg(long, env = "ANNOUNCER_NO_CLUSTER", switch())]
    pub no_cluster: bool,
    /// Print what was found out, as JSON, and judge nothing.
    ///
    /// To send to somebody, who judges it with --from.
    #[arg(long, env = "ANNOUNCER_FACTS", switch(), conflicts_with = "from")]
    pub facts: bool,
    /// Judge what --facts printed instead of this machine.
    ///
    /// Here or elsewhere; - is standard input.
    #[arg(long, env = "ANNOUNCER_FROM", value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Which interfaces, and how.
    #[command(flatten, next_help_heading = WIRE)]
    pub wire: WireArgs,
    /// An address that is answered without Kubernetes.
    ///
    /// Then the cluster is not looked at.
    #[arg(
        long,
        env = "ANNOUNCER_STATIC_VIP",
        value_delimiter = ',',
        value_name = "IP",
        help_heading = SELECTION
    )]
    pub static_vip: Vec<IpAddr>,
    /// The API server, and this node.
    #[command(flatten, next_help_heading = KUBERNETES)]
    pub kubernetes: KubernetesArgs,
    /// The clocks.
    #[command(flatten, next_help_heading = OWNERSHIP)]
    pub timing: TimingArgs,
}
