//! When a probe asks. Pure.

use std::time::{Duration, Instant};

/// After a stall the probe makes up for this many requests at most, so that what
/// follows is still the rate asked for.
const MAX_CATCH_UP: u32 = 20;

/// When requests are due: on a grid from the beginning on, so that nothing drifts.
#[derive(Debug)]
pub(super) struct Schedule {
    due: Instant,
    period: Duration,
}

impl Schedule {
    pub(super) fn new(from: Instant, rate: u32) -> Self {
        Self { due: from, period: Duration::from_secs(1) / rate }
    }

    /// The instant of the next request, and how many before it were given up. It is in
    /// the past when the caller is late by a little, for it to catch up.
    pub(super) fn next(&mut self, now: Instant) -> (Instant, u64) {
        let late = now.saturating_duration_since(self.due);
        let mut skipped = 0;
        if late > self.period * MAX_CATCH_UP {
            skipped = u32::try_from(late.as_nanos() / self.period.as_nanos()).unwrap_or(u32::MAX);
            self.due += self.period.saturating_mul(skipped);
        }
        let due = self.due;
        self.due += self.period;
        (due, skipped.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_on_their_grid() {
        let from = Instant::now();
        let ms = |n: u64| from + Duration::from_millis(n);
        let mut schedule = Schedule::new(from, 1000);
        assert_eq!(schedule.next(ms(0)), (ms(0), 0));
        assert_eq!(schedule.next(ms(0)), (ms(1), 0));
        // 18 ms late: all of them at once.
        for n in 2..=20 {
            assert_eq!(schedule.next(ms(20)), (ms(n), 0));
        }
        // 79 ms late: only what is due now.
        assert_eq!(schedule.next(ms(100)), (ms(100), 79));
        assert_eq!(schedule.next(ms(100)), (ms(101), 0));
    }
}
