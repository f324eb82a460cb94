//! The clocks of the protocol, checked once.

use std::time::Duration;

/// Lease timings that can work together; cannot be built otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    lease_duration: Duration,
    renew_interval: Duration,
}

/// Why two timings cannot work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// A renewal that is lost must leave time for the next one.
    #[error(
        "--renew-interval {renew:?} is too long for --lease-duration {lease:?}: two renewals must fit into the {valid:?} for which one is valid (the duration less a fifth for clock drift), so use at most {most:?}"
    )]
    RenewTooSlow {
        /// The lease duration asked for.
        lease: Duration,
        /// The renew interval asked for.
        renew: Duration,
        /// What the lease duration leaves after the margin.
        valid: Duration,
        /// The longest renew interval that would do.
        most: Duration,
    },
    /// Below this, scheduling jitter looks like death.
    #[error("--renew-interval {0:?} is too short: use at least 50ms")]
    RenewTooFast(Duration),
    /// Kubernetes keeps whole seconds in an i32; nobody waits for an hour.
    #[error("--lease-duration {0:?} is too long: use at most 1h")]
    LeaseTooLong(Duration),
}

impl Timing {
    /// Shortest renew interval.
    pub const MIN_RENEW: Duration = Duration::from_millis(50);
    /// Longest lease duration.
    pub const MAX_LEASE: Duration = Duration::from_secs(3600);

    /// Checks that the two can work together.
    ///
    /// # Errors
    /// A renew interval under 50 ms, a lease duration over 1 h, or a duration
    /// that one lost renewal would already use up.
    pub fn new(lease_duration: Duration, renew_interval: Duration) -> Result<Self, TimingError> {
        let timing = Self { lease_duration, renew_interval };
        if renew_interval < Self::MIN_RENEW {
            return Err(TimingError::RenewTooFast(renew_interval));
        }
        if lease_duration > Self::MAX_LEASE {
            return Err(TimingError::LeaseTooLong(lease_duration));
        }
        let valid = timing.validity();
        if renew_interval * 2 > valid {
            return Err(TimingError::RenewTooSlow {
                lease: lease_duration,
                renew: renew_interval,
                valid,
                most: valid / 2,
            });
        }
        Ok(timing)
    }

    /// D: how long others wait, on their own clock, before they fence.
    pub const fn lease_duration(self) -> Duration {
        self.lease_duration
    }

    /// Time from one renewal's sending to the next one's.
    pub const fn renew_interval(self) -> Duration {
        self.renew_interval
    }

    /// What the holder subtracts from D: a fifth. It covers clock *rates* that
    /// differ by less than 20 %, a hundred times what NTP calls broken, and the
    /// time between a check and its effect.
    pub fn margin(self) -> Duration {
        self.lease_duration / 5
    }

    /// How long a confirmed renewal entitles, from its sending: D less margin.
    pub fn validity(self) -> Duration {
        self.lease_duration - self.margin()
    }

    /// When an unanswered request is given up: a renewal that is lost and the one
    /// after it both fit into the validity of the one before.
    pub fn request_timeout(self) -> Duration {
        (self.validity() - self.renew_interval) / 2
    }

    /// Head start of each rank over the next when several nodes may act.
    pub fn stagger(self) -> Duration {
        self.renew_interval / 5
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn timings_that_cannot_work_are_refused_with_the_remedy() {
        assert!(Timing::new(ms(3000), ms(1000)).is_ok());
        assert!(Timing::new(ms(800), ms(200)).is_ok());
        assert_eq!(Timing::new(ms(3000), ms(10)), Err(TimingError::RenewTooFast(ms(10))));
        assert!(matches!(Timing::new(ms(3_601_000), ms(1000)), Err(TimingError::LeaseTooLong(_))));
        let refused = Timing::new(ms(2000), ms(1000)).expect_err("2 x 1000 > 1600");
        assert!(refused.to_string().contains("at most 800ms"), "{refused}");
    }

    #[test]
    fn a_lost_renewal_leaves_time_for_another() {
        for (lease, renew) in [(3000, 1000), (800, 200), (15_000, 5000)] {
            let t = Timing::new(ms(lease), ms(renew)).expect("valid timing");
            assert!(t.renew_interval() + t.request_timeout() * 2 <= t.validity());
            assert!(t.validity() + t.margin() == t.lease_duration());
        }
    }
}
