//! Flags of `announcer doctor`.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

use super::{ApiArgs, OutputFormat, Switch as _};
use crate::{config::InterfacePattern, datapath::Hook, types::NodeName};

/// Flags of `announcer doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Interface to look at, by name or as /regular expression/, as for `announcer run`.
    /// Default: the interface of the default route.
    #[arg(long, env = "ANNOUNCER_INTERFACE", value_delimiter = ',', value_name = "NAME|/REGEX/")]
    pub interface: Vec<InterfacePattern>,
    /// The hook that `announcer run` is told to use.
    #[arg(
        long,
        env = "ANNOUNCER_HOOK",
        default_value_t,
        value_name = "auto|xdp-native|tcx|xdp-generic"
    )]
    pub hook: Hook,
    /// An address that is answered without Kubernetes: then the cluster is not looked at.
    #[arg(long, env = "ANNOUNCER_STATIC_VIP", value_delimiter = ',', value_name = "IP")]
    pub static_vip: Vec<IpAddr>,
    /// Leave out the API server, rights and the Node.
    #[arg(long, env = "ANNOUNCER_NO_CLUSTER")]
    pub no_cluster: bool,
    /// As for `announcer run`: the margin for clocks is a fifth of it.
    #[arg(long, env = "ANNOUNCER_LEASE_DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub lease_duration: std::time::Duration,
    /// As for `announcer run`: an API server that is slower than that cannot be lived with.
    #[arg(long, env = "ANNOUNCER_RENEW_INTERVAL", default_value = "1s", value_parser = humantime::parse_duration)]
    pub renew_interval: std::time::Duration,
    /// This node's name in the cluster; default: the host name.
    #[arg(long, env = "ANNOUNCER_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<NodeName>,
    /// The API server, and where the Leases are.
    #[command(flatten, next_help_heading = "Kubernetes")]
    pub api: ApiArgs,
    /// As for `announcer run`: a right more is needed with it.
    #[arg(long, env = "ANNOUNCER_SERVICE_CONDITION", switch())]
    pub service_condition: bool,
    /// How to write it (to standard output).
    #[arg(short, long, env = "ANNOUNCER_OUTPUT", default_value = "table")]
    pub output: OutputFormat,
    /// Print what was found out, as JSON, and judge nothing: to send to somebody.
    #[arg(long, env = "ANNOUNCER_FACTS", conflicts_with = "from")]
    pub facts: bool,
    /// Judge what `--facts` printed, here or elsewhere, instead of this machine; - is
    /// standard input.
    #[arg(long, env = "ANNOUNCER_FROM", value_name = "FILE")]
    pub from: Option<PathBuf>,
}
