//! The settings, validated once.

use std::{
    collections::BTreeSet, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration,
};

use regex::Regex;

use crate::{
    announce::{self, Pacing},
    cli::{ApiArgs, ClusterArgs, RunArgs, SelectionArgs},
    conflict,
    datapath::{self, Hook},
    intent::index::Selection,
    observe::http::HttpAddress,
    ownership::{
        heartbeat::OnApiLoss,
        timing::{Timing, TimingError},
    },
    types::{NodeName, NodeNameError, Vip, VipError},
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
    /// A static VIP that cannot be one.
    #[error("--static-vip: {0}")]
    StaticVip(#[from] VipError),
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
    #[error("the host name cannot be the node name: {0}; give --node-name")]
    HostName(#[source] NodeNameError),
    /// The host name cannot be read.
    #[error("the host name cannot be read; give --node-name")]
    NoHostName(#[source] std::io::Error),
}

impl ConfigError {
    /// The flags that it is about.
    pub const fn flags(&self) -> &'static [&'static str] {
        match self {
            Self::StaticVip(_) => &["static-vip"],
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
            interface,
            hook,
            max_vips,
            silence,
            answer_ping,
            bpf_log,
            static_vip,
            lease_duration,
            renew_interval,
            on_conflict,
            probe_interval,
            refresh_interval,
            announce_rate,
            http_address,
            vip_series,
            cluster,
        } = args;
        let timing = Timing::new(lease_duration, renew_interval)?;
        let source = if static_vip.is_empty() {
            Source::Cluster(Box::new(cluster_config(cluster)?))
        } else {
            Source::Static(static_vip.into_iter().map(Vip::new).collect::<Result<_, _>>()?)
        };
        let hook: Hook = hook;
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

fn cluster_config(args: ClusterArgs) -> Result<Cluster, ConfigError> {
    let ClusterArgs {
        selection,
        api: ApiArgs { kubeconfig, namespace },
        node_name,
        on_api_loss,
        handover_timeout,
        linger,
        rebalance_rate,
        service_condition,
    } = args;
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

/// An interface by name, or all whose names match a regular expression.
#[derive(Clone, Debug)]
pub enum InterfacePattern {
    /// This one; waited for if it does not exist yet.
    Name(String),
    /// Every one that matches; at least one is waited for.
    Regex(Regex),
}

impl InterfacePattern {
    /// Whether an interface of this name is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(wanted) => wanted == name,
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

impl std::fmt::Display for InterfacePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

/// Not an interface name and not a regular expression.
#[derive(Debug, thiserror::Error)]
pub enum InterfacePatternError {
    /// The kernel would not take it.
    #[error(
        "{0:?} is not an interface name: 1 to 15 characters without blanks, '/' and ':' (a regular expression stands between slashes, like /ens.*/)"
    )]
    Name(String),
    /// Between slashes, but no regular expression.
    #[error(transparent)]
    Regex(#[from] regex::Error),
}

impl FromStr for InterfacePattern {
    type Err = InterfacePatternError;

    fn from_str(s: &str) -> Result<Self, InterfacePatternError> {
        let inner = s.strip_prefix('/').and_then(|s| s.strip_suffix('/'));
        if let Some(expression) = inner {
            // Anchored: `/eth/` must not mean every name with `eth` in it.
            return Ok(Self::Regex(Regex::new(&format!("^(?:{expression})$"))?));
        }
        // dev_valid_name() of the kernel.
        let fits = (1..=15).contains(&s.len()) && s != "." && s != "..";
        if fits && !s.chars().any(|c| c == '/' || c == ':' || c.is_whitespace()) {
            Ok(Self::Name(s.to_owned()))
        } else {
            Err(InterfacePatternError::Name(s.to_owned()))
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn config(flags: &[&str]) -> Result<Config, String> {
        let named: &[_] = if flags.contains(&"--node-name") { &[] } else { &["--node-name", "n"] };
        let words = ["announcer", "run"].iter().chain(named).chain(flags);
        let cli = Cli::try_parse_from(words).map_err(|e| e.to_string())?;
        let Command::Run(args) = cli.command else { return Err("not run".to_owned()) };
        Config::new(*args).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_a_cluster_at_3_and_1_seconds() {
        let config = config(&[]).expect("the defaults work");
        assert!(config.interfaces.is_empty());
        assert_eq!(config.timing.lease_duration(), Duration::from_secs(3));
        assert_eq!(config.timing.renew_interval(), Duration::from_secs(1));
        assert!(matches!(config.source, Source::Cluster(c) if c.on_api_loss == OnApiLoss::Hold));
    }

    #[test]
    fn refreshes_and_probes_can_be_switched_off() {
        let defaults = config(&[]).expect("valid");
        assert_eq!(defaults.announce, announce::Settings::default());
        assert_eq!(
            defaults.conflict.probe_interval,
            Some(conflict::Settings::DEFAULT_PROBE_INTERVAL)
        );
        let off = config(&["--refresh-interval", "0", "--probe-interval", "0"]).expect("valid");
        assert_eq!((off.announce.refresh, off.conflict.probe_interval), (None, None));
        assert_eq!(off.announce.pacing, defaults.announce.pacing);
    }

    #[test]
    fn static_vips_need_no_cluster() {
        let flags = ["--static-vip", "192.0.2.10,192.0.2.11", "--static-vip", "192.0.2.12"];
        let Source::Static(vips) = config(&flags).expect("valid").source else {
            unreachable!("static VIPs were given")
        };
        assert_eq!(vips.len(), 3);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (flags, names) in [
            (&["--static-vip", "2001:db8::1"][..], "2001:db8::1"),
            (&["--static-vip", "224.0.0.1"], "multicast"),
            (&["--static-vip", "web"], "web"),
            (&["--lease-duration", "1s", "--renew-interval", "1s"], "at most 400ms"),
            (&["--lease-duration", "soon"], "soon"),
            (&["--interface", "/ens(/"], "ens("),
            (&["--interface", "a/b"], "a/b"),
            (&["--hook", "tc"], "tc"),
            (&["--announce-rate", "0"], "--announce-rate"),
            (&["--announce-rate", "100001"], "1 to 100000"),
            (&["--refresh-interval", "10ms"], "between 1s and 1h"),
            (&["--probe-interval", "20s"], "between 10ms and 10s"),
            (&["--on-conflict", "fight"], "fight"),
            (&["--rebalance-rate=-1"], "0.01 to 1000"),
            (&["--rebalance-rate", "NaN"], "0.01 to 1000"),
            (&["--service-selector", "a b"], "a b"),
            (&["--node-name", "Node_1"], "Node_1"),
        ] {
            let error = config(flags).expect_err(names);
            assert!(error.contains(names), "{flags:?}: {error}");
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        let pattern: InterfacePattern = "/ens[0-9]+/".parse().expect("a pattern");
        assert!(pattern.matches("ens18"));
        assert!(!pattern.matches("ens18.100"));
        assert!(!pattern.matches("xens18"));
    }
}
