//! Flags that say when a silent node is fenced.

use std::time::Duration;

use clap::Args;

use super::value::duration;

/// The heading of these, and of others of their kind.
pub(super) const OWNERSHIP: &str = "Ownership timing";

/// The two clocks of the protocol.
#[derive(Clone, Copy, Debug, Args)]
pub struct TimingArgs {
    /// How long a silent node stays in possession of its VIPs.
    ///
    /// A fifth of it is the margin for clocks that run at different rates. The same on all
    /// nodes.
    #[arg(
        long,
        env = "ANNOUNCER_LEASE_DURATION",
        default_value = "3s",
        value_name = "TIME",
        value_parser = duration
    )]
    pub lease_duration: Duration,
    /// How often this node renews its lease.
    ///
    /// Two renewals must fit into four fifths of the lease duration, so that one may be
    /// lost; an API server that takes longer than what is left of it cannot be lived with.
    #[arg(
        long,
        env = "ANNOUNCER_RENEW_INTERVAL",
        default_value = "1s",
        value_name = "TIME",
        value_parser = duration
    )]
    pub renew_interval: Duration,
}
