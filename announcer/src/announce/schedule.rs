//! When which VIP is announced on one interface: pure, `now` is an argument.
//!
//! Each takeover gets [`ROUNDS`] rounds. Rounds are paced by one token bucket
//! over all VIPs, and first rounds overtake repeats: the first frame is what
//! moves the traffic, repeats are insurance against loss and locktime.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

use crate::types::{BootTime, Vip};

/// Rounds per takeover: with the first one lost or ignored, four chances remain.
pub const ROUNDS: u8 = 5;

/// Least time between two rounds for one VIP. Linux ignores a neighbour update
/// within `net.ipv4.neigh.*.locktime` (1 s by default) of the previous one, so
/// a repeat after less would be lost on a host that has just heard somebody else.
pub const ROUND_INTERVAL: Duration = Duration::from_millis(1100);

/// Frames in one round: the request form and the reply form.
pub const FRAMES_PER_ROUND: u32 = 2;

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
}

impl Default for Pacing {
    /// 500 frames a second after a burst of 200.
    ///
    /// A takeover of 100 VIPs is announced at once, one of 1,000 within 4 s.
    /// 500 broadcast frames of 84 octets on the wire are 0.34 Mbit/s: a third of
    /// a storm-control limit of 1 % on a 100 Mbit/s port.
    fn default() -> Self {
        Self::new(NonZeroU32::MIN.saturating_add(499), 200)
    }
}

/// One round for one VIP, due now: both forms of gratuitous ARP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The VIP to announce.
    pub vip: Vip,
    /// Which round this is, from 1 to [`ROUNDS`].
    pub round: u8,
}

/// A round that is still to come.
#[derive(Clone, Copy, Debug)]
struct Pending {
    round: u8,
    due: BootTime,
}

/// The gratuitous ARP schedule of one interface.
///
/// Whoever owns it feeds takeovers and losses, calls [`poll`](Self::poll) then
/// and at [`next_deadline`](Self::next_deadline), and sends what it returns.
#[derive(Debug)]
pub struct Schedule {
    bucket: Bucket,
    /// Every VIP that this interface announces; `None` once its rounds are done.
    /// It stays known, so that a link that comes back announces it again (and a
    /// periodic refresh finds it).
    vips: BTreeMap<Vip, Option<Pending>>,
    /// First rounds, oldest first.
    firsts: BTreeSet<(BootTime, Vip)>,
    /// Later rounds, earliest due first.
    repeats: BTreeSet<(BootTime, Vip)>,
}

impl Schedule {
    /// An empty schedule whose bucket is full.
    pub fn new(pacing: Pacing) -> Self {
        Self {
            bucket: Bucket { pacing, full_at: BootTime::ZERO },
            vips: BTreeMap::new(),
            firsts: BTreeSet::new(),
            repeats: BTreeSet::new(),
        }
    }

    /// This node took `vip` over: its first round is due at once.
    ///
    /// For a VIP that is being announced already, the rounds begin anew; one
    /// whose first round still waits for the pacing keeps its place.
    pub fn start(&mut self, vip: Vip, now: BootTime) {
        if let Some(Some(Pending { round: 1, .. })) = self.vips.get(&vip) {
            return;
        }
        self.stop(vip);
        self.vips.insert(vip, Some(Pending { round: 1, due: now }));
        self.firsts.insert((now, vip));
    }

    /// A former process announced `vip` and the wire knows it: nothing is due,
    /// until [`restart_all`](Self::restart_all).
    pub fn adopt(&mut self, vip: Vip) {
        self.vips.entry(vip).or_insert(None);
    }

    /// `vip` is no longer answered here: nothing more is sent for it.
    pub fn stop(&mut self, vip: Vip) {
        if let Some(Some(Pending { due, .. })) = self.vips.remove(&vip) {
            self.firsts.remove(&(due, vip));
            self.repeats.remove(&(due, vip));
        }
    }

    /// The link came back or the MAC changed: every VIP is announced anew.
    pub fn restart_all(&mut self, now: BootTime) {
        let vips: Vec<Vip> = self.vips.keys().copied().collect();
        for vip in vips {
            self.start(vip, now);
        }
    }

    /// What must be sent now; each round is returned once.
    ///
    /// First rounds come before repeats. At most a burst's worth is returned at
    /// a time, the rest at [`next_deadline`](Self::next_deadline).
    pub fn poll(&mut self, now: BootTime) -> Vec<Announcement> {
        let mut out = Vec::new();
        while let Some(vip) = self.next_due(now)
            && self.bucket.take(now)
        {
            let Some(Some(sent)) = self.vips.get(&vip).copied() else { break };
            self.firsts.remove(&(sent.due, vip));
            self.repeats.remove(&(sent.due, vip));
            // Counted from the sending, not from the due time: a round that the
            // pacing held back must not bring the next one within the locktime.
            let next = (sent.round < ROUNDS)
                .then(|| Pending { round: sent.round + 1, due: now + ROUND_INTERVAL });
            self.repeats.extend(next.map(|n| (n.due, vip)));
            self.vips.insert(vip, next);
            out.push(Announcement { vip, round: sent.round });
        }
        out
    }

    /// The instant from which [`poll`](Self::poll) returns something; before it,
    /// `poll` returns nothing. `None` when no round is to come.
    pub fn next_deadline(&self) -> Option<BootTime> {
        let first = self.firsts.first().into_iter();
        let due = first.chain(self.repeats.first()).map(|&(due, _)| due).min()?;
        Some(due.max(self.bucket.ready_at()))
    }

    fn next_due(&self, now: BootTime) -> Option<Vip> {
        [&self.firsts, &self.repeats]
            .into_iter()
            .filter_map(|queue| queue.first())
            .find(|&&(due, _)| due <= now)
            .map(|&(_, vip)| vip)
    }
}

/// A token bucket, kept as the instant at which it will be full again (GCRA).
#[derive(Debug)]
struct Bucket {
    pacing: Pacing,
    full_at: BootTime,
}

impl Bucket {
    /// The earliest instant at which one more round fits.
    fn ready_at(&self) -> BootTime {
        self.full_at - (self.pacing.burst - self.pacing.frame_cost * FRAMES_PER_ROUND)
    }

    /// Takes one round's frames, if they are there.
    fn take(&mut self, now: BootTime) -> bool {
        let ready = self.ready_at() <= now;
        if ready {
            self.full_at = self.full_at.max(now) + self.pacing.frame_cost * FRAMES_PER_ROUND;
        }
        ready
    }
}

#[cfg(test)]
mod tests;
