//! Waking those who wait for a condition on shared state, blocking or async, without polling.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// Tells waiters to look again. Whoever changes the state notifies after the change.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    generation: Mutex<u64>,
    blocked: Condvar,
    subscribed: watch::Sender<u64>,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify(&self) {
        let mut generation = self.lock();
        *generation += 1;
        self.subscribed.send_replace(*generation);
        self.blocked.notify_all();
    }

    /// Blocks until the condition holds; whether it did in time.
    pub(crate) fn wait(&self, within: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + within;
        loop {
            // Read first: a change behind the look at the condition is then noticed.
            let seen = *self.lock();
            if condition() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.blocked.wait_timeout_while(self.lock(), left, |now| *now == seen);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits until the condition holds.
    pub(crate) async fn until(&self, mut condition: impl FnMut() -> bool) {
        let mut generation = self.subscribed.subscribe();
        loop {
            generation.borrow_and_update();
            // The sender lives as long as `self`.
            if condition() || generation.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the condition holds; whether it did in time. Needs a tokio runtime with time.
    pub(crate) async fn until_within(
        &self,
        within: Duration,
        condition: impl FnMut() -> bool,
    ) -> bool {
        tokio::time::timeout(within, self.until(condition)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[test]
    fn no_notification_is_missed() {
        let signal = Arc::new(Signal::default());
        let value = Arc::new(AtomicU32::new(0));
        let notifier = {
            let (signal, value) = (Arc::clone(&signal), Arc::clone(&value));
            std::thread::spawn(move || {
                for _ in 0..10_000 {
                    value.fetch_add(1, Ordering::SeqCst);
                    signal.notify();
                }
            })
        };
        let within = Duration::from_secs(20);
        for target in (0..=10_000).step_by(500) {
            assert!(signal.wait(within, || value.load(Ordering::SeqCst) >= target));
        }
        assert!(!signal.wait(Duration::from_millis(1), || false));
        assert!(notifier.join().is_ok());
    }
}
