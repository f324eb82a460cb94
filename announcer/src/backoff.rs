//! How long to wait before trying the API server again.

use std::time::Duration;

use backon::ExponentialBuilder;
use futures::{Stream, StreamExt, stream};
use kube::runtime::{
    utils::Backoff,
    watcher::{self, ExponentialBackoff},
};

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

/// The events of a watch, with pauses after errors. Not kube's own backoff: that
/// takes the announcement of a list for a success, so that a list which fails is
/// tried again without ever slowing down.
pub fn paced<K: Send + 'static>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send {
    let state = (events.boxed(), watch_backoff());
    stream::unfold(state, |(mut events, mut pauses)| async move {
        let event = events.next().await?;
        match &event {
            Ok(watcher::Event::Init) => {}
            Ok(_) => pauses.reset(),
            Err(_) => {
                if let Some(pause) = pauses.next() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
        Some((event, (events, pauses)))
    })
}
