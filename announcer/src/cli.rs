//! The command line: typed flags, each with an environment twin.

use std::{net::IpAddr, num::NonZeroU32, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::InterfacePattern,
    conflict::OnConflict,
    datapath::{Hook, Silence},
    intent::selector::LabelSelector,
    ownership::heartbeat::OnApiLoss,
    types::NodeName,
};

/// Layer-2 announcement of Kubernetes service addresses.
///
/// Answers ARP for the virtual IPs that this node holds, from a BPF program on
/// its uplink; decides by Kubernetes Leases which node holds which.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 orderly end, 1 unexpected, 2 wrong usage or configuration, \
    3 not permitted, 4 kernel too old, 5 somebody else is there (another daemon or XDP program).")]
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
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: attach, take part in the ownership of VIPs, answer.
    Run(Box<RunArgs>),
    /// Show what is attached in this network namespace and what it answers, whether or
    /// not a daemon runs.
    Status(StatusArgs),
    /// Remove what a killed daemon left attached and pinned in this network namespace.
    Detach,
}

/// Flags of `announcer status`.
#[derive(Clone, Copy, Debug, Args)]
pub struct StatusArgs {
    /// How to write it (to standard output).
    #[arg(short, long, env = "ANNOUNCER_OUTPUT", default_value = "table")]
    pub output: OutputFormat,
}

/// How a command's result looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Flags of `announcer run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Interface to answer on, by name or as /regular expression/; may be given
    /// several times. Default: the interface of the default route.
    #[arg(long, env = "ANNOUNCER_INTERFACE", value_delimiter = ',', value_name = "NAME|/REGEX/")]
    pub interface: Vec<InterfacePattern>,
    /// Where to attach the program: auto takes native XDP where the driver really has
    /// it (not on veth), else tcx (Linux 6.6), else generic XDP.
    #[arg(
        long,
        env = "ANNOUNCER_HOOK",
        default_value_t,
        value_name = "auto|xdp-native|tcx|xdp-generic"
    )]
    pub hook: Hook,
    /// Room for so many VIPs on each interface, held here or elsewhere.
    #[arg(long, env = "ANNOUNCER_MAX_VIPS", default_value = "8192", value_name = "N")]
    pub max_vips: NonZeroU32,
    /// What becomes of requests for VIPs that other nodes hold: dropped, so that this
    /// host's kernel does not answer either; or passed, for others that get frames through
    /// the interface (auto sees ports of bridges, and macvlans of this network namespace).
    #[arg(long, env = "ANNOUNCER_SILENCE", default_value = "auto")]
    pub silence: Silence,
    /// Answer pings (ICMP echo) to VIPs that this node holds; else they are the kernel's.
    #[arg(
        long,
        env = "ANNOUNCER_ANSWER_PING",
        action = ArgAction::Set,
        default_value_t = true,
        value_name = "true|false"
    )]
    pub answer_ping: bool,
    /// Let the BPF program log rare events to target `announcer::xdp`.
    #[arg(long, env = "ANNOUNCER_BPF_LOG")]
    pub bpf_log: bool,
    /// Answer for this address without Kubernetes; may be given several times.
    #[arg(long, env = "ANNOUNCER_STATIC_VIP", value_delimiter = ',', value_name = "IP")]
    pub static_vip: Vec<IpAddr>,
    /// How long a silent node stays in possession of its VIPs.
    #[arg(long, env = "ANNOUNCER_LEASE_DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub lease_duration: std::time::Duration,
    /// How often this node renews its lease.
    #[arg(long, env = "ANNOUNCER_RENEW_INTERVAL", default_value = "1s", value_parser = humantime::parse_duration)]
    pub renew_interval: std::time::Duration,
    /// What to do when a station that is no announcer uses a VIP of this node: defend
    /// goes on answering and announces it, at most every 10 s; yield falls silent and
    /// probes now and then whether it is free; report says so and nothing else.
    #[arg(long, env = "ANNOUNCER_ON_CONFLICT", default_value = "defend")]
    pub on_conflict: OnConflict,
    /// Before a VIP that nobody held is answered for the first time, three ARP Probes are
    /// sent, one to two of these intervals apart; 0: none. A takeover never waits.
    #[arg(long, env = "ANNOUNCER_PROBE_INTERVAL", default_value = "200ms", value_parser = humantime::parse_duration)]
    pub probe_interval: std::time::Duration,
    /// How often each VIP is announced again, more or less, so that switches remember
    /// where it is; 0: never.
    #[arg(long, env = "ANNOUNCER_REFRESH_INTERVAL", default_value = "60s", value_parser = humantime::parse_duration)]
    pub refresh_interval: std::time::Duration,
    /// How many announcements, in frames a second, an interface sends at most in the long
    /// run: 1 to 100000.
    #[arg(
        long,
        env = "ANNOUNCER_ANNOUNCE_RATE",
        default_value = "200",
        value_name = "FRAMES-PER-SECOND"
    )]
    pub announce_rate: NonZeroU32,
    /// Flags that need a cluster.
    #[command(flatten, next_help_heading = "Kubernetes")]
    pub cluster: ClusterArgs,
}

/// Flags of `announcer run` that need a cluster.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Announce LoadBalancer Services with these labels. Where the cluster has an
    /// L2AnnouncementPolicy, policies decide instead.
    #[arg(
        long,
        env = "ANNOUNCER_SERVICE_SELECTOR",
        default_value = "l2announcer.io/announce=true",
        value_name = "SELECTOR"
    )]
    pub service_selector: LabelSelector,
    /// spec.loadBalancerClass that is ours; Services of another class are ignored.
    #[arg(
        long,
        env = "ANNOUNCER_LOAD_BALANCER_CLASS",
        default_value = "l2announcer.io/l2",
        value_name = "CLASS"
    )]
    pub load_balancer_class: String,
    /// Ignore Services that have no class.
    #[arg(long, env = "ANNOUNCER_REQUIRE_CLASS")]
    pub require_class: bool,
    /// Announce spec.externalIPs too, of selected Services of any type. Where the
    /// cluster has an L2AnnouncementPolicy, policies decide instead.
    #[arg(long, env = "ANNOUNCER_EXTERNAL_IPS")]
    pub external_ips: bool,
    /// Let cordoned nodes hold no VIPs.
    #[arg(long, env = "ANNOUNCER_EXCLUDE_CORDONED")]
    pub exclude_cordoned: bool,
    /// Credentials; default: $KUBECONFIG, then ~/.kube/config, then those of the pod.
    #[arg(long, env = "ANNOUNCER_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the Leases.
    #[arg(
        long,
        env = "ANNOUNCER_NAMESPACE",
        default_value = "announcer-system",
        value_name = "NAME"
    )]
    pub namespace: String,
    /// This node's name in the cluster; default: the host name.
    #[arg(long, env = "ANNOUNCER_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<NodeName>,
    /// When the API server does not answer: hold keeps answering while no rival
    /// announces the VIP; withdraw stops when the lease runs out.
    #[arg(long, env = "ANNOUNCER_ON_API_LOSS", default_value = "hold")]
    pub on_api_loss: OnApiLoss,
    /// How long an offered VIP waits for a successor.
    #[arg(long, env = "ANNOUNCER_HANDOVER_TIMEOUT", default_value = "5s", value_parser = humantime::parse_duration)]
    pub handover_timeout: std::time::Duration,
    /// After an orderly end VIPs stay silent on this node for so long, unless the next
    /// daemon comes before: this host's kernel, which has them as addresses with kube-proxy
    /// in IPVS mode, answers for none. 0s: everything is taken down.
    #[arg(long, env = "ANNOUNCER_LINGER", default_value = "5m", value_parser = humantime::parse_duration)]
    pub linger: std::time::Duration,
    /// How many VIPs a second this node gives, each without a gap, to nodes where
    /// they belong rather (one that came back, a preferred one); 0: none, VIPs
    /// stay where they are.
    #[arg(long, env = "ANNOUNCER_REBALANCE_RATE", default_value = "10", value_name = "PER-SECOND")]
    pub rebalance_rate: f64,
}
