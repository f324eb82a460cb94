//! How long to wait before trying the API server again.

use std::time::Duration;

use backon::ExponentialBuilder;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use kube::runtime::{utils::Backoff, watcher::ExponentialBackoff};

/// How long the API server keeps one watch request open, in seconds; a connection
/// that died silently is noticed a few seconds after.
pub const WATCH_TIMEOUT_SECONDS: u32 = 60;

/// For watches: quick at first, since a missed event can cost a failover, and
/// never slower than a lease lasts; jittered, since a returning API server
/// meets every node at once.
pub fn watch_backoff() -> ExponentialBackoff {
    exponential(Duration::from_millis(100), Duration::from_secs(2))
}

/// Until a CustomResourceDefinition or a right is granted, on many nodes: within
/// half a minute, with jitter.
fn absent_backoff() -> ExponentialBackoff {
    exponential(Duration::from_secs(1), Duration::from_secs(15))
}

/// Twice as long each time; jitter adds up to as much again.
fn exponential(first: Duration, longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(longest)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .into()
}

/// What an event says about how the watch gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing: a list is announced, and may fail yet.
    None,
    /// It works.
    Made,
    /// It broke, and resumes after a short pause.
    Interrupted,
    /// There is nothing to watch, or not for us: begun anew after a long pause.
    Refused,
}

/// The events of a watch that is begun by `begin`, as `judge` understands them, with
/// pauses after those that it says are errors.
///
/// Not kube's own backoff: that takes the announcement of a list for a success, so
/// that a list which fails is tried again without ever slowing down.
pub fn paced<T: Send + 'static, U: Send + 'static>(
    begin: impl Fn() -> BoxStream<'static, T> + Send + 'static,
    judge: impl FnMut(T) -> (U, Progress) + Send + 'static,
) -> impl Stream<Item = U> + Send {
    struct State<T, B, J> {
        begin: B,
        judge: J,
        events: BoxStream<'static, T>,
        soon: ExponentialBackoff,
        late: ExponentialBackoff,
        pause: Option<Duration>,
    }
    let (soon, late) = (watch_backoff(), absent_backoff());
    let state = State { events: begin(), begin, judge, soon, late, pause: None };
    stream::unfold(state, |mut state| async move {
        if let Some(pause) = state.pause.take() {
            tokio::time::sleep(pause).await;
        }
        let event = state.events.next().await?;
        let (event, progress) = (state.judge)(event);
        match progress {
            Progress::None => {}
            Progress::Made => {
                state.soon.reset();
                state.late.reset();
            }
            Progress::Interrupted => state.pause = state.soon.next(),
            Progress::Refused => {
                state.pause = state.late.next();
                state.events = (state.begin)();
            }
        }
        Some((event, state))
    })
}
