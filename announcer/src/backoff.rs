//! How long to wait before trying the API server again.

use std::time::Duration;

use backon::ExponentialBuilder;
use kube::runtime::watcher::ExponentialBackoff;

/// For watches: quick at first, since a missed event can cost a failover, and
/// never slower than a lease lasts; jittered, since a returning API server
/// meets every node at once.
pub fn watch_backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .into()
}
