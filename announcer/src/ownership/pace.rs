//! How fast requests about VIPs go out: a token bucket that an overloaded API
//! server can close. Pure.

use std::time::Duration;

use crate::types::BootTime;

/// Requests a second, in the long run.
const RATE: u32 = 200;
/// Requests at once, after a rest: a node that is drained gives up to this many
/// VIPs away without any delay.
const BURST: u32 = 400;
/// However long an API server asks us to stay away.
const LONGEST: Duration = Duration::from_secs(10);

/// Says when the next request may go; full and open at first.
#[derive(Debug, Default)]
pub struct Pace {
    /// The bucket is full again from this moment on, if nothing is taken.
    full_at: BootTime,
    closed_until: BootTime,
}

impl Pace {
    /// When the next request may go: now, if that is not later than `now`.
    pub fn next(&self, now: BootTime) -> BootTime {
        let filling = Duration::from_secs(1) / RATE;
        let ready = self.full_at.max(now) - filling * (BURST - 1);
        ready.max(self.closed_until)
    }

    /// One request goes.
    pub fn take(&mut self, now: BootTime) {
        self.full_at = self.full_at.max(now) + Duration::from_secs(1) / RATE;
    }

    /// The API server has too much to do: none for `pause`.
    pub fn close(&mut self, now: BootTime, pause: Duration) {
        self.closed_until = self.closed_until.max(now + pause.min(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: BootTime = BootTime::from_nanos(1_000_000_000_000);

    fn taken_within(pace: &mut Pace, from: BootTime, time: Duration) -> u32 {
        let (mut now, mut taken) = (from, 0);
        loop {
            now = now.max(pace.next(now));
            if now >= from + time {
                return taken;
            }
            pace.take(now);
            taken += 1;
        }
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut pace = Pace::default();
        assert_eq!(taken_within(&mut pace, START, Duration::from_nanos(1)), BURST);
        let after = START + Duration::from_nanos(1);
        assert_eq!(taken_within(&mut pace, after, Duration::from_secs(5)), 5 * RATE);
        let rested = START + Duration::from_secs(60);
        assert_eq!(taken_within(&mut pace, rested, Duration::from_nanos(1)), BURST);
    }

    #[test]
    fn a_closed_bucket_opens_by_itself_and_not_too_late() {
        let mut pace = Pace::default();
        pace.close(START, Duration::from_secs(2));
        assert_eq!(taken_within(&mut pace, START, Duration::from_secs(2)), 0);
        pace.close(START, Duration::from_secs(3600));
        assert_eq!(pace.next(START), START + LONGEST);
    }
}
