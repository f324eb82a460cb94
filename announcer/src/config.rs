//! The settings, validated once.

mod interface;

use std::{collections::BTreeSet, ops::RangeInclusive, path::PathBuf, time::Duration};

pub use self::interface::{InterfacePattern, InterfacePatternError};
use crate::{
    announce::{self, Pacing},
    cli::{
        AnnouncementArgs, ApiArgs, KubernetesArgs, ObservabilityArgs, OwnershipArgs, RunArgs,
        SelectionArgs, TimingArgs, WireArgs,
    },
    conflict, datapath,
    intent::index::Selection,
    observe::http::HttpAddress,
    ownership::{
        heartbeat::OnApiLoss,
        timing::{Timing, TimingError},
    },
    types::{NodeName, NodeNameError, Vip},
};

/// Frames a second: no more than fast Ethernet carries.
const MAX_ANNOUNCE_RATE: u32 = 100_000;
const REFRESH_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const PROBE_BOUNDS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);

/// Everything that `announcer run` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which interfaces; empty for the default route's.
    pub interfaces: Vec<InterfacePattern>,
    /// How they are opened.
    pub datapath: datapath::Options,
    /// The clocks.
    pub timing: Timing,
    /// How VIPs are announced.
    pub announce: announce::Settings,
    /// How addresses are claimed and kept.
    pub conflict: conflict::Settings,
    /// Where metrics and health are served.
    pub http_address: HttpAddress,
    /// So many VIPs have a metric of their own.
    pub vip_series: usize,
    /// Where the VIPs come from.
    pub source: Source,
}

/// Where the VIPs come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The command line: all of them are this machine's, always.
    Static(BTreeSet<Vip>),
    /// Services and Leases.
    Cluster(Box<Cluster>),
}

/// Settings for a cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Which Services.
    pub selection: Selection,
    /// Credentials, if not those of the surroundings.
    pub kubeconfig: Option<PathBuf>,
    /// Of the Leases.
    pub namespace: String,
    /// This node.
    pub node: NodeName,
    /// When the API server does not answer.
    pub on_api_loss: OnApiLoss,
    /// How long offers stand.
    pub handover_timeout: Duration,
    /// For how long VIPs stay silent on this node after an orderly end; `None`: everything
    /// is taken down.
    pub linger: Option<Duration>,
    /// Least time between two VIPs that are given away to where they belong rather.
    pub rebalance: Option<Duration>,
    /// Whether Services say in a condition who announces them.
    pub service_condition: bool,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Timings that cannot work together.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// A rate that is none.
    #[error(
        "--rebalance-rate {0} is not a rate: give VIPs per second, from 0.01 to 1000, or 0 for none"
    )]
    RebalanceRate(f64),
    /// More frames than an interface should send, however fast.
    #[error("--announce-rate {0} is too much: give frames per second, from 1 to 100000")]
    AnnounceRate(u32),
    /// Refreshes that would be announcements without end, or none that a switch notices.
    #[error(
        "--refresh-interval {0:?} is not between 1s and 1h, and not 0 for none: switches forget after 300s"
    )]
    RefreshInterval(Duration),
    /// Probes that nobody could answer, or that nobody would wait for.
    #[error("--probe-interval {0:?} is not between 10ms and 10s, and not 0 for none")]
    ProbeInterval(Duration),
    /// The host name is no node name.
    #[error(
        "the host name cannot be the node name: {0}; give --node-name (ANNOUNCER_NODE_NAME, nodeName in a file)"
    )]
    HostName(#[source] NodeNameError),
    /// The host name cannot be read.
    #[error(
        "the host name cannot be read; give --node-name (ANNOUNCER_NODE_NAME, nodeName in a file)"
    )]
    NoHostName(#[source] std::io::Error),
}

impl ConfigError {
    /// The flags that it is about.
    pub const fn flags(&self) -> &'static [&'static str] {
        match self {
            Self::Timing(_) => &["lease-duration", "renew-interval"],
            Self::RebalanceRate(_) => &["rebalance-rate"],
            Self::AnnounceRate(_) => &["announce-rate"],
            Self::RefreshInterval(_) => &["refresh-interval"],
            Self::ProbeInterval(_) => &["probe-interval"],
            Self::HostName(_) | Self::NoHostName(_) => &[],
        }
    }
}

impl Config {
    /// Checks the flags against each other.
    ///
    /// # Errors
    /// What is wrong, where, and what to do.
    pub fn new(args: RunArgs) -> Result<Self, ConfigError> {
        // Exhaustive, so that a new flag cannot be forgotten.
        let RunArgs {
            wire: WireArgs { interface, hook },
            silence,
            answer_ping,
            max_vips,
            static_vip,
            selection,
            kubernetes,
            ownership,
            announcements,
            observability: ObservabilityArgs { http_address, vip_series, bpf_log },
        } = args;
        let AnnouncementArgs { announce_rate, refresh_interval, probe_interval, on_conflict } =
            announcements;
        let TimingArgs { lease_duration, renew_interval } = ownership.timing;
        let timing = Timing::new(lease_duration, renew_interval)?;
        let source = if static_vip.is_empty() {
            Source::Cluster(Box::new(cluster(selection, kubernetes, &ownership)?))
        } else {
            Source::Static(static_vip.into_iter().collect())
        };
        let datapath = datapath::Options {
            hook,
            max_vips,
            silence,
            answer_ping,
            bpf_log,
            ..datapath::Options::default()
        };
        if announce_rate.get() > MAX_ANNOUNCE_RATE {
            return Err(ConfigError::AnnounceRate(announce_rate.get()));
        }
        let refresh =
            unless_zero(refresh_interval, REFRESH_BOUNDS).map_err(ConfigError::RefreshInterval)?;
        let announce = announce::Settings { pacing: Pacing::at(announce_rate), refresh };
        let probe_interval =
            unless_zero(probe_interval, PROBE_BOUNDS).map_err(ConfigError::ProbeInterval)?;
        let conflict =
            conflict::Settings { on_conflict, probe_interval, frames_per_second: announce_rate };
        Ok(Self {
            interfaces: interface,
            datapath,
            timing,
            announce,
            conflict,
            http_address,
            vip_series,
            source,
        })
    }
}

fn cluster(
    selection: SelectionArgs,
    kubernetes: KubernetesArgs,
    ownership: &OwnershipArgs,
) -> Result<Cluster, ConfigError> {
    let KubernetesArgs { api: ApiArgs { kubeconfig, namespace }, node_name, service_condition } =
        kubernetes;
    let OwnershipArgs { timing: _, on_api_loss, handover_timeout, linger, rebalance_rate } =
        *ownership;
    let rebalance = rebalance_interval(rebalance_rate)?;
    let node = match node_name {
        Some(node) => node,
        None => host_name()?,
    };
    Ok(Cluster {
        selection: selection.into(),
        kubeconfig,
        namespace,
        node,
        on_api_loss,
        handover_timeout,
        linger: (!linger.is_zero()).then_some(linger),
        rebalance,
        service_condition,
    })
}

impl From<SelectionArgs> for Selection {
    fn from(args: SelectionArgs) -> Self {
        let SelectionArgs {
            service_selector,
            load_balancer_class,
            require_class,
            external_ips,
            exclude_cordoned,
        } = args;
        Self {
            services: service_selector,
            class: load_balancer_class,
            classless: !require_class,
            external_ips,
            exclude_cordoned,
        }
    }
}

/// `None` for 0; else it must be within the bounds.
fn unless_zero(
    interval: Duration,
    bounds: RangeInclusive<Duration>,
) -> Result<Option<Duration>, Duration> {
    match interval {
        Duration::ZERO => Ok(None),
        interval if bounds.contains(&interval) => Ok(Some(interval)),
        interval => Err(interval),
    }
}

fn rebalance_interval(rate: f64) -> Result<Option<Duration>, ConfigError> {
    if rate == 0.0 {
        return Ok(None);
    }
    let valid = (0.01..=1000.0).contains(&rate);
    let interval = valid.then(|| Duration::from_secs_f64(rate.recip()));
    interval.map(Some).ok_or(ConfigError::RebalanceRate(rate))
}

/// As the kubelet does: the host name in lower case.
pub(crate) fn host_name() -> Result<NodeName, ConfigError> {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(ConfigError::NoHostName)?;
    name.trim().to_lowercase().parse().map_err(ConfigError::HostName)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
