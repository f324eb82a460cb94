//! Flags of `announcer probe`.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::Args;

use super::{
    DEFAULT_NAMESPACE, OutputFormat, Switch as _,
    cluster::KUBERNETES,
    value::{duration, positive},
};
use crate::types::Vip;

/// Flags of `announcer probe`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Run it on another host of the segment than the holder: no host hears \
    its own questions. What this host answers itself, by its announcer or its kernel, is said \
    as far as it can be read (as root), and counts as one station. It takes CAP_NET_RAW.\n\n\
    A probe names no sender, so nobody's neighbour table changes. But whoever is about to take \
    an address that nobody has, and probes for it at the same moment, sees a conflict \
    (RFC 5227 section 2.1.1): do not probe for an address while a host is being given it.\n\n\
    Exit codes: 0 one station answers for each address, on the wire or this host itself, \
    6 nobody answers for one of them, 8 two stations answer for one of them.")]
pub struct ProbeArgs {
    /// Addresses to ask for.
    #[arg(required = true, value_name = "ADDRESS")]
    pub addresses: Vec<Vip>,
    /// Interface to ask on.
    ///
    /// Default: the one whose network the address is in.
    #[arg(long, env = "ANNOUNCER_PROBE_INTERFACE", value_name = "NAME")]
    pub interface: Option<String>,
    /// How often to ask.
    ///
    /// A station that answers only now and then is found by asking more.
    #[arg(
        long,
        env = "ANNOUNCER_PROBE_COUNT",
        default_value = "3",
        value_name = "N",
        value_parser = positive
    )]
    pub count: NonZeroU32,
    /// Time from one question to the next.
    ///
    /// 10ms to 1h. Default: 300ms, with --watch 100ms.
    #[arg(long, env = "ANNOUNCER_PROBE_PAUSE", value_name = "TIME", value_parser = duration)]
    pub interval: Option<Duration>,
    /// How long an answer may take.
    ///
    /// With --watch: how long silence is not yet called silence.
    #[arg(
        long,
        env = "ANNOUNCER_PROBE_TIMEOUT",
        default_value = "1s",
        value_name = "TIME",
        value_parser = duration
    )]
    pub timeout: Duration,
    /// Go on until Ctrl-C, and print every change of who answers.
    ///
    /// And gratuitous ARP.
    #[arg(long, env = "ANNOUNCER_PROBE_WATCH", switch())]
    pub watch: bool,
    /// How to write it (to standard output).
    #[arg(short, long, env = "ANNOUNCER_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: OutputFormat,
    /// Name nodes beside MACs, by their Leases in this cluster.
    #[arg(long, env = "ANNOUNCER_KUBECONFIG", value_name = "FILE", help_heading = KUBERNETES)]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the Leases.
    #[arg(
        long,
        env = "ANNOUNCER_NAMESPACE",
        default_value = DEFAULT_NAMESPACE,
        value_name = "NAME",
        help_heading = KUBERNETES
    )]
    pub namespace: String,
}
