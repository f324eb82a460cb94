//! Flags of `announcer explain`, and of the status of a whole cluster.

use clap::Args;

use super::{ApiArgs, OutputFormat, SelectionArgs, Switch as _, cluster::KUBERNETES};
use crate::explain::chain::Target;

/// Flags of `announcer explain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes: 0 announced, 6 not announced, 3 it cannot be told: a right \
    is missing, or the announcers' Leases are in another namespace; others as of every command.\n\n\
    Needs these rights only: list services, nodes, endpointslices.discovery.k8s.io, \
    ingresses.networking.k8s.io, gateways.gateway.networking.k8s.io and \
    l2announcementpolicies.l2announcer.io; list and watch leases.coordination.k8s.io in the \
    namespace of the announcers (and list in all, to find announcers elsewhere). What is missing \
    is told, and what does not depend on it is explained all the same.")]
pub struct ExplainArgs {
    /// A Service, or an address that one has.
    #[arg(value_name = "NAMESPACE/SERVICE|ADDRESS")]
    pub target: Target,
    /// How to write it (to standard output).
    #[arg(short, long, env = "ANNOUNCER_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: OutputFormat,
    /// The API server, and where the Leases are.
    #[command(flatten, next_help_heading = KUBERNETES)]
    pub api: ApiArgs,
    /// Which Services and nodes: what the nodes' leases say of their daemons' settings goes
    /// before these.
    #[command(flatten, next_help_heading = "Where no node's lease says what its daemon uses")]
    pub selection: SelectionArgs,
}

/// Flags of `announcer status` that are about a whole cluster.
#[derive(Clone, Debug, Args)]
pub struct OverviewArgs {
    /// Show all nodes and VIPs of the cluster instead.
    ///
    /// By what the API server has: with a kubeconfig, from any machine, with the rights that
    /// `announcer explain` needs.
    #[arg(long, env = "ANNOUNCER_CLUSTER", switch())]
    pub cluster: bool,
    /// The API server, and where the Leases are.
    #[command(flatten, next_help_heading = "With --cluster")]
    pub api: ApiArgs,
    /// As of `announcer explain`.
    #[command(flatten, next_help_heading = "With --cluster")]
    pub selection: SelectionArgs,
}
