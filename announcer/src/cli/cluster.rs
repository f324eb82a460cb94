//! Flags that every command with a cluster has.

use std::path::PathBuf;

use clap::Args;

use super::Switch as _;
use crate::{intent::selector::LabelSelector, types::NodeName};

/// The heading of [`SelectionArgs`], and of others of their kind.
pub(super) const SELECTION: &str = "VIPs and selection";
/// The heading of [`KubernetesArgs`] and [`ApiArgs`].
pub(super) const KUBERNETES: &str = "Kubernetes";

/// Flags that say which Services are announced, and by which nodes.
#[derive(Clone, Debug, Args)]
pub struct SelectionArgs {
    /// Announce LoadBalancer Services with these labels.
    ///
    /// In kubectl's syntax. Where the cluster has an L2AnnouncementPolicy, policies decide
    /// instead.
    #[arg(
        long,
        env = "ANNOUNCER_SERVICE_SELECTOR",
        default_value = "l2announcer.io/announce=true",
        value_name = "SELECTOR"
    )]
    pub service_selector: LabelSelector,
    /// The spec.loadBalancerClass that is ours.
    ///
    /// Services of another class are ignored.
    #[arg(
        long,
        env = "ANNOUNCER_LOAD_BALANCER_CLASS",
        default_value = "l2announcer.io/l2",
        value_name = "CLASS"
    )]
    pub load_balancer_class: String,
    /// Ignore Services that have no class.
    #[arg(long, env = "ANNOUNCER_REQUIRE_CLASS", switch())]
    pub require_class: bool,
    /// Announce spec.externalIPs too.
    ///
    /// Of selected Services of any type. Where the cluster has an L2AnnouncementPolicy,
    /// policies decide instead.
    #[arg(long, env = "ANNOUNCER_EXTERNAL_IPS", switch())]
    pub external_ips: bool,
    /// Let cordoned nodes hold no VIPs.
    #[arg(long, env = "ANNOUNCER_EXCLUDE_CORDONED", switch())]
    pub exclude_cordoned: bool,
}

/// Of the Leases, unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "announcer-system";

/// Flags that say where the cluster is.
#[derive(Clone, Debug, Args)]
pub struct ApiArgs {
    /// Credentials for the API server.
    ///
    /// Default: $KUBECONFIG, then ~/.kube/config, then those of the pod.
    #[arg(long, env = "ANNOUNCER_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the Leases.
    #[arg(
        long,
        env = "ANNOUNCER_NAMESPACE",
        default_value = DEFAULT_NAMESPACE,
        value_name = "NAME"
    )]
    pub namespace: String,
}

/// Flags that say where the cluster is, and what this node is in it.
#[derive(Clone, Debug, Args)]
pub struct KubernetesArgs {
    /// The API server, and where the Leases are.
    #[command(flatten)]
    pub api: ApiArgs,
    /// This node's name in the cluster.
    ///
    /// Default: the host name in lower case, as the kubelet has it.
    #[arg(long, env = "ANNOUNCER_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<NodeName>,
    /// Write condition L2Announced into the status of Services.
    ///
    /// It says whether they are announced, and which node holds which VIP. Needs the right to
    /// patch services/status, which the manifests do not give by themselves.
    #[arg(long, env = "ANNOUNCER_SERVICE_CONDITION", switch())]
    pub service_condition: bool,
}
