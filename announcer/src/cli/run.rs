//! Flags of `announcer run`.

use std::{num::NonZeroU32, time::Duration};

use clap::Args;

use super::{
    KubernetesArgs, SelectionArgs, Switch as _, TimingArgs, WireArgs,
    cluster::{KUBERNETES, SELECTION},
    timing::OWNERSHIP,
    value::{count, duration, number, positive},
    wire::WIRE,
};
use crate::{
    conflict::OnConflict, datapath::Silence, observe::http::HttpAddress,
    ownership::heartbeat::OnApiLoss, types::Vip,
};

const ANNOUNCEMENTS: &str = "Announcements and conflicts";
const OBSERVABILITY: &str = "Observability";

/// Flags of `announcer run`, in the order of their headings.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which interfaces, and how.
    #[command(flatten, next_help_heading = WIRE)]
    pub wire: WireArgs,
    /// What becomes of requests for VIPs that other nodes hold.
    ///
    /// They are dropped, so that this host's kernel does not answer either; or they pass, for
    /// others that get frames through the interface. auto sees ports of bridges, and macvlans
    /// of this network namespace.
    #[arg(long, env = "ANNOUNCER_SILENCE", default_value = "auto", value_name = "ACTION", help_heading = WIRE)]
    pub silence: Silence,
    /// Answer pings (ICMP echo) to VIPs that this node holds.
    ///
    /// Else they are the kernel's.
    #[arg(
        long,
        env = "ANNOUNCER_ANSWER_PING",
        switch(),
        default_value = "true",
        // Nothing that follows a flag of `run` could be meant otherwise.
        require_equals = false,
        help_heading = WIRE
    )]
    pub answer_ping: bool,
    /// Room for so many VIPs on each interface.
    ///
    /// Held here or elsewhere.
    #[arg(
        long,
        env = "ANNOUNCER_MAX_VIPS",
        default_value = "8192",
        value_name = "N",
        value_parser = positive,
        help_heading = WIRE
    )]
    pub max_vips: NonZeroU32,
    /// Answer for this address without Kubernetes.
    ///
    /// May be given several times, or as a list with commas.
    #[arg(
        long,
        env = "ANNOUNCER_STATIC_VIP",
        value_delimiter = ',',
        value_name = "IP",
        help_heading = SELECTION
    )]
    pub static_vip: Vec<Vip>,
    /// Which Services, and which nodes.
    #[command(flatten, next_help_heading = SELECTION)]
    pub selection: SelectionArgs,
    /// The API server, and this node.
    #[command(flatten, next_help_heading = KUBERNETES)]
    pub kubernetes: KubernetesArgs,
    /// When VIPs change hands.
    #[command(flatten, next_help_heading = OWNERSHIP)]
    pub ownership: OwnershipArgs,
    /// How VIPs are announced, and what becomes of strangers that use them.
    #[command(flatten, next_help_heading = ANNOUNCEMENTS)]
    pub announcements: AnnouncementArgs,
    /// What can be seen from outside.
    #[command(flatten, next_help_heading = OBSERVABILITY)]
    pub observability: ObservabilityArgs,
}

/// Flags that say when VIPs change hands.
#[derive(Clone, Debug, Args)]
pub struct OwnershipArgs {
    /// The clocks.
    #[command(flatten)]
    pub timing: TimingArgs,
    /// What to do with VIPs when the API server does not answer.
    #[arg(long, env = "ANNOUNCER_ON_API_LOSS", default_value = "hold", value_name = "ACTION")]
    pub on_api_loss: OnApiLoss,
    /// How long an offered VIP waits for a successor.
    #[arg(
        long,
        env = "ANNOUNCER_HANDOVER_TIMEOUT",
        default_value = "5s",
        value_name = "TIME",
        value_parser = duration
    )]
    pub handover_timeout: Duration,
    /// How long VIPs stay silent on this node after an orderly end.
    ///
    /// Unless the next daemon comes before: so this host's kernel, which has them as addresses
    /// with kube-proxy in IPVS mode, answers for none. 0s: everything is taken down.
    #[arg(
        long,
        env = "ANNOUNCER_LINGER",
        default_value = "5m",
        value_name = "TIME",
        value_parser = duration
    )]
    pub linger: Duration,
    /// How many VIPs a second this node gives to nodes where they belong.
    ///
    /// To one that came back, or to a preferred one, each without a gap. 0: none, VIPs stay
    /// where they are.
    #[arg(
        long,
        env = "ANNOUNCER_REBALANCE_RATE",
        default_value = "10",
        value_name = "PER-SECOND",
        value_parser = number
    )]
    pub rebalance_rate: f64,
}

/// Flags that say how VIPs are announced, and what becomes of strangers that use them.
#[derive(Clone, Debug, Args)]
pub struct AnnouncementArgs {
    /// How many announcements an interface sends at most.
    ///
    /// In frames a second in the long run, 1 to 100000.
    #[arg(
        long,
        env = "ANNOUNCER_ANNOUNCE_RATE",
        default_value = "200",
        value_name = "PER-SECOND",
        value_parser = positive
    )]
    pub announce_rate: NonZeroU32,
    /// How often each VIP is announced again, more or less.
    ///
    /// So that switches remember where it is. 0: never.
    #[arg(
        long,
        env = "ANNOUNCER_REFRESH_INTERVAL",
        default_value = "60s",
        value_name = "TIME",
        value_parser = duration
    )]
    pub refresh_interval: Duration,
    /// Time between the ARP Probes for a VIP that nobody held.
    ///
    /// Three of them are sent, one to two of these intervals apart, before it is answered for
    /// the first time. 0: none. A takeover never waits.
    #[arg(
        long,
        env = "ANNOUNCER_PROBE_INTERVAL",
        default_value = "200ms",
        value_name = "TIME",
        value_parser = duration
    )]
    pub probe_interval: Duration,
    /// What to do when a station that is no announcer uses a VIP.
    #[arg(long, env = "ANNOUNCER_ON_CONFLICT", default_value = "defend", value_name = "ACTION")]
    pub on_conflict: OnConflict,
}

/// Flags that say what can be seen from outside.
#[derive(Clone, Debug, Args)]
pub struct ObservabilityArgs {
    /// Where to serve /metrics, /healthz and /readyz by HTTP.
    ///
    /// Empty: nowhere.
    #[arg(
        long,
        env = "ANNOUNCER_HTTP_ADDRESS",
        default_value = "0.0.0.0:9842",
        value_name = "IP:PORT"
    )]
    pub http_address: HttpAddress,
    /// So many VIPs, the first by address, have a metric of their own.
    #[arg(
        long,
        env = "ANNOUNCER_VIP_SERIES",
        default_value = "1000",
        value_name = "N",
        value_parser = count
    )]
    pub vip_series: usize,
    /// Let the BPF program log rare events.
    ///
    /// To target `announcer::xdp` of the log.
    #[arg(long, env = "ANNOUNCER_BPF_LOG", switch())]
    pub bpf_log: bool,
}
