//! A value that one thread fills and others wait on: every wait of the lab ends
//! with the event it waits for or at a deadline, and none polls.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A value behind a mutex, with a condition variable that tells of changes.
#[derive(Debug, Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    /// Starts with `value`.
    pub const fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Looks at the value. A panic of another holder is not passed on: a test that
    /// fails should still be able to print what was recorded.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value and wakes everybody who waits.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `check` finds what it looks for; `None` when `within` has passed
    /// without it. `check` runs at once, after every change, and at the deadline.
    pub fn wait<R>(
        &self,
        within: Duration,
        mut check: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let deadline = Instant::now() + within;
        let mut guard = self.lock();
        loop {
            if let Some(found) = check(&mut guard) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())?;
            guard =
                self.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_event_or_at_its_deadline() {
        let watched = Watched::new(0);
        assert_eq!(watched.wait(Duration::ZERO, |n| (*n == 1).then_some(())), None);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|_| watched.update(|n| *n += 1)));
            let seen = watched.wait(Duration::from_secs(10), |n| (*n == 3).then_some(*n));
            assert_eq!(seen, Some(3));
        });
    }
}
