//! Flags of `announcer run`.

use std::{net::IpAddr, num::NonZeroU32};

use clap::{ArgAction, Args};

use super::{ApiArgs, SelectionArgs, Switch as _};
use crate::{
    config::InterfacePattern,
    conflict::OnConflict,
    datapath::{Hook, Silence},
    observe::http::HttpAddress,
    ownership::heartbeat::OnApiLoss,
    types::NodeName,
};

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
    #[arg(long, env = "ANNOUNCER_BPF_LOG", switch())]
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
    /// Where to serve /metrics, /healthz and /readyz by HTTP; empty: nowhere.
    #[arg(
        long,
        env = "ANNOUNCER_HTTP_ADDRESS",
        default_value = "0.0.0.0:9842",
        value_name = "IP:PORT"
    )]
    pub http_address: HttpAddress,
    /// So many VIPs, the first by address, have a metric of their own.
    #[arg(long, env = "ANNOUNCER_VIP_SERIES", default_value = "1000", value_name = "N")]
    pub vip_series: usize,
    /// Flags that need a cluster.
    #[command(flatten, next_help_heading = "Kubernetes")]
    pub cluster: ClusterArgs,
}

/// Flags of `announcer run` that need a cluster.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Which Services, and which nodes.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The API server, and where the Leases are.
    #[command(flatten)]
    pub api: ApiArgs,
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
    /// Write condition L2Announced into the status of Services: whether they are announced,
    /// and which node holds which VIP. Needs the right to patch services/status, which the
    /// manifests do not give by themselves.
    #[arg(long, env = "ANNOUNCER_SERVICE_CONDITION", switch())]
    pub service_condition: bool,
}
