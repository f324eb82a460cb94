//! How fast one interface may send ARP of its own: pure, `now` is an argument.

use std::{num::NonZeroU32, time::Duration};

use super::schedule::FRAMES_PER_ROUND;
use crate::types::BootTime;

/// `--announce-rate` unless told otherwise, in frames a second. 200 broadcast frames
/// of 84 octets on the wire are 0.13 Mbit/s: an eighth of a storm-control limit of 1 %
/// on a 100 Mbit/s port.
pub const DEFAULT_RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);

/// The most frames at once, however high the rate. A failover of 100 VIPs is over
/// with the first frames, so it should not be spread over a second; and 200 minimal
/// frames are some 13 KB, which the shallowest queue of a switch port holds.
const LARGEST_BURST: u32 = 200;

/// How fast one interface may announce, in frames.
///
/// In any window of `t` seconds at most `burst + t * rate` frames are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    frame_cost: Duration,
    burst: Duration,
}

impl Pacing {
    /// A sustained rate, and how many frames may go out at once after silence.
    ///
    /// Less than one round of burst could never send anything: it is raised to
    /// [`FRAMES_PER_ROUND`].
    pub fn new(frames_per_second: NonZeroU32, burst_frames: u32) -> Self {
        let rate = u64::from(frames_per_second.get());
        // Rounded up, so that the rate is a bound and not an average.
        let frame_cost = Duration::from_nanos(1_000_000_000_u64.div_ceil(rate));
        Self { frame_cost, burst: frame_cost * burst_frames.max(FRAMES_PER_ROUND) }
    }

    /// A sustained rate, and a second's worth of it at once, up to 200 frames: storm
    /// control counts over a second or more, and sees twice the rate at the worst.
    pub fn at(frames_per_second: NonZeroU32) -> Self {
        Self::new(frames_per_second, frames_per_second.get().min(LARGEST_BURST))
    }
}

impl Default for Pacing {
    /// 200 frames a second after a burst of 200: a takeover of 100 VIPs is announced
    /// at once, one of 1,000 within 10 s.
    fn default() -> Self {
        Self::at(DEFAULT_RATE)
    }
}

/// A token bucket, kept as the instant at which it will be full again (GCRA).
#[derive(Debug)]
pub(super) struct Bucket {
    pacing: Pacing,
    full_at: BootTime,
}

impl Bucket {
    pub(super) const fn full(pacing: Pacing) -> Self {
        Self { pacing, full_at: BootTime::ZERO }
    }

    /// The earliest instant at which one more round fits.
    pub(super) fn ready_at(&self) -> BootTime {
        self.full_at - (self.pacing.burst - self.pacing.frame_cost * FRAMES_PER_ROUND)
    }

    /// Takes so many frames (a round's at most), if there is room for a round.
    pub(super) fn take(&mut self, now: BootTime, frames: u32) -> bool {
        let ready = self.ready_at() <= now;
        if ready {
            self.spend(now, frames);
        }
        ready
    }

    /// Takes so many frames, though there be no room: whatever follows waits longer.
    pub(super) fn spend(&mut self, now: BootTime, frames: u32) {
        self.full_at = self.full_at.max(now) + self.pacing.frame_cost * frames;
    }
}
