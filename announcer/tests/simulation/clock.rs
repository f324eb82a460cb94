//! True time, and the clocks that nodes have of it.

use announcer::types::BootTime;

/// A millisecond of true time, which counts nanoseconds from the start.
pub(crate) const MS: u64 = 1_000_000;
/// A second of true time.
pub(crate) const SECOND: u64 = 1000 * MS;

/// One machine's CLOCK_BOOTTIME: it has an origin and a rate of its own.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// Parts per million off the true rate.
    pub(crate) ppm: i64,
    /// What it shows when true time starts.
    pub(crate) origin: u64,
}

impl Clock {
    /// What the clock shows at true time `t`.
    pub(crate) fn at(self, t: u64) -> BootTime {
        let drift = i128::from(t) * i128::from(self.ppm) / 1_000_000;
        let local = i128::from(self.origin) + i128::from(t) + drift;
        BootTime::from_nanos(u64::try_from(local).expect("clocks start late enough"))
    }

    /// The true time at which the clock has come to show `local`.
    pub(crate) fn true_time(self, local: BootTime) -> u64 {
        let elapsed = local.as_nanos().saturating_sub(self.origin);
        let rate = u128::try_from(1_000_000 + self.ppm).expect("rates are near 1");
        let scaled = u128::from(elapsed) * 1_000_000 / rate;
        u64::try_from(scaled).unwrap_or(u64::MAX).saturating_add(1)
    }
}
