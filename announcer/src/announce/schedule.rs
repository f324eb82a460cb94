//! When which VIP is announced on one interface: pure, `now` is an argument.
//!
//! Each takeover gets [`ROUNDS`] rounds, and then a refresh from time to time. All of
//! them are paced by one token bucket over all VIPs. What matters most goes first: the
//! first round of a takeover moves the traffic, that of the newest takeover for most
//! clients (those of an older one have begun to ask for themselves); repeats are
//! insurance against loss and locktime; refreshes are for switches. Every fourth time
//! whatever has waited longest goes, so that nothing starves.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hasher,
    time::Duration,
};

use siphasher::sip::SipHasher13;

use super::pacing::{Bucket, Pacing};
use crate::types::{BootTime, Vip};

/// Rounds per takeover: with the first one lost or ignored, four chances remain.
pub const ROUNDS: u8 = 5;

/// Least time between two rounds for one VIP. Linux ignores a neighbour update
/// within `net.ipv4.neigh.*.locktime` (1 s by default) of the previous one, so
/// a repeat after less would be lost on a host that has just heard somebody else.
pub const ROUND_INTERVAL: Duration = Duration::from_millis(1100);

/// Frames in one round: the request form and the reply form.
pub const FRAMES_PER_ROUND: u32 = 2;

/// Refreshes are due at full seconds of the clock, so that an interface with thousands of
/// VIPs wakes the daemon once a second for them and not for each.
const REFRESH_SLOT_NS: u64 = 1_000_000_000;

/// Every so many announcements the one that has waited longest.
const FAIR_TURN: u8 = 4;

/// How one interface announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How fast.
    pub pacing: Pacing,
    /// How often every VIP is announced again, more or less; `None`: never.
    pub refresh: Option<Duration>,
}

impl Settings {
    /// `--refresh-interval` unless told otherwise. Switches forget a MAC that they have
    /// not heard for 300 s (IEEE 802.1Q, ageing time): four refreshes may be lost.
    pub const DEFAULT_REFRESH: Duration = Duration::from_secs(60);
}

impl Default for Settings {
    fn default() -> Self {
        Self { pacing: Pacing::default(), refresh: Some(Self::DEFAULT_REFRESH) }
    }
}

/// Why a VIP is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was taken over; which round this is, from 1 to [`ROUNDS`].
    Takeover(u8),
    /// Another station claims it (RFC 5227 section 2.4).
    Defence,
    /// Switches shall not forget where it is.
    Refresh,
}

impl Kind {
    /// How many frames it is. A refresh is one, the request form: it is for the tables
    /// of switches, which look at the Ethernet source of any frame.
    pub const fn frames(self) -> u32 {
        match self {
            Self::Takeover(_) | Self::Defence => FRAMES_PER_ROUND,
            Self::Refresh => 1,
        }
    }
}

/// One announcement of one VIP, due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The VIP to announce.
    pub vip: Vip,
    /// Why, and so in which forms.
    pub kind: Kind,
}

/// What is still to come for a VIP.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// Its next round or refresh.
    next: Option<(BootTime, Kind)>,
    defence: Option<BootTime>,
    /// Refreshes so far, as seed of the next one's jitter.
    refreshes: u32,
}

/// The gratuitous ARP schedule of one interface.
///
/// Whoever owns it feeds takeovers and losses, calls [`poll`](Self::poll) then
/// and at [`next_deadline`](Self::next_deadline), and sends what it returns.
#[derive(Debug)]
pub struct Schedule {
    refresh: Option<Duration>,
    bucket: Bucket,
    /// Every VIP that this interface announces. It stays known when nothing is to come,
    /// so that a link that comes back announces it again.
    vips: BTreeMap<Vip, Plan>,
    queues: Queues,
    /// Announcements since the longest waiting had its turn.
    turn: u8,
}

/// What waits, by importance; each earliest first.
#[derive(Debug, Default)]
struct Queues {
    firsts: BTreeSet<(BootTime, Vip)>,
    defences: BTreeSet<(BootTime, Vip)>,
    repeats: BTreeSet<(BootTime, Vip)>,
    refreshes: BTreeSet<(BootTime, Vip)>,
}

impl Queues {
    const fn of(&mut self, kind: Kind) -> &mut BTreeSet<(BootTime, Vip)> {
        match kind {
            Kind::Takeover(0 | 1) => &mut self.firsts,
            Kind::Takeover(_) => &mut self.repeats,
            Kind::Defence => &mut self.defences,
            Kind::Refresh => &mut self.refreshes,
        }
    }

    /// The head of each, the most important first; what has waited longest in each.
    fn oldest(&self) -> impl Iterator<Item = (BootTime, Vip, Waiting)> {
        [
            (self.firsts.first(), Waiting::Next),
            (self.defences.first(), Waiting::Defence),
            (self.repeats.first(), Waiting::Next),
            (self.refreshes.first(), Waiting::Next),
        ]
        .into_iter()
        .filter_map(|(head, what)| head.map(|&(due, vip)| (due, vip, what)))
    }
}

/// Which of the two that a [`Plan`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Next,
    Defence,
}

impl Schedule {
    /// An empty schedule whose bucket is full.
    pub fn new(settings: Settings) -> Self {
        Self {
            refresh: settings.refresh,
            bucket: Bucket::full(settings.pacing),
            vips: BTreeMap::new(),
            queues: Queues::default(),
            turn: 0,
        }
    }

    /// This node took `vip` over: its first round is due at once.
    ///
    /// For a VIP that is being announced already, the rounds begin anew; one
    /// whose first round still waits for the pacing keeps its place.
    pub fn start(&mut self, vip: Vip, now: BootTime) {
        if self.waits_for_first(vip) {
            return;
        }
        self.stop(vip);
        self.plan(vip, Plan { next: Some((now, Kind::Takeover(1))), ..Plan::default() });
    }

    /// A former process announced `vip` and the wire knows it: nothing but refreshes is
    /// due, until [`restart_all`](Self::restart_all).
    pub fn adopt(&mut self, vip: Vip, now: BootTime) {
        if !self.vips.contains_key(&vip) {
            self.plan(vip, Plan { next: self.refresh_after(now, vip, 0), ..Plan::default() });
        }
    }

    /// Another station claims `vip`: one round, both forms, now. Nothing for a VIP that
    /// is not announced here, or whose first round waits anyway.
    pub fn defend(&mut self, vip: Vip, now: BootTime) {
        if self.waits_for_first(vip) {
            return;
        }
        if let Some(plan) = self.vips.get_mut(&vip)
            && plan.defence.is_none()
        {
            plan.defence = Some(now);
            self.queues.defences.insert((now, vip));
        }
    }

    /// `vip` is no longer answered here: nothing more is sent for it.
    pub fn stop(&mut self, vip: Vip) {
        let Some(Plan { next, defence, .. }) = self.vips.remove(&vip) else { return };
        if let Some((due, kind)) = next {
            self.queues.of(kind).remove(&(due, vip));
        }
        if let Some(due) = defence {
            self.queues.defences.remove(&(due, vip));
        }
    }

    /// The link came back or the MAC changed: every VIP is announced anew.
    pub fn restart_all(&mut self, now: BootTime) {
        let vips: Vec<Vip> = self.vips.keys().copied().collect();
        for vip in vips {
            self.start(vip, now);
        }
    }

    /// Other frames went out, which are not held back: what is scheduled here waits
    /// for their sake.
    pub fn spend(&mut self, now: BootTime, frames: u32) {
        self.bucket.spend(now, frames);
    }

    /// What must be sent now; each is returned once.
    ///
    /// At most a burst's worth is returned at a time, the rest at
    /// [`next_deadline`](Self::next_deadline).
    pub fn poll(&mut self, now: BootTime) -> Vec<Announcement> {
        let mut out = Vec::new();
        while let Some((vip, what)) = self.next_due(now) {
            let Some(plan) = self.vips.get(&vip).copied() else { break };
            let (due, kind) = match (what, plan.defence, plan.next) {
                (Waiting::Defence, Some(due), _) => (due, Kind::Defence),
                (Waiting::Next, _, Some(next)) => next,
                _ => break,
            };
            if !self.bucket.take(now, kind.frames()) {
                break;
            }
            self.queues.of(kind).remove(&(due, vip));
            self.plan(vip, self.after(now, vip, plan, kind));
            self.turn = (self.turn + 1) % FAIR_TURN;
            out.push(Announcement { vip, kind });
        }
        out
    }

    /// The instant from which [`poll`](Self::poll) returns something; before it,
    /// `poll` returns nothing. `None` when nothing is to come.
    pub fn next_deadline(&self) -> Option<BootTime> {
        let due = self.queues.oldest().map(|(due, ..)| due).min()?;
        Some(due.max(self.bucket.ready_at()))
    }

    fn waits_for_first(&self, vip: Vip) -> bool {
        let next = self.vips.get(&vip).and_then(|plan| plan.next);
        matches!(next, Some((_, Kind::Takeover(1))))
    }

    fn plan(&mut self, vip: Vip, plan: Plan) {
        if let Some((due, kind)) = plan.next {
            self.queues.of(kind).insert((due, vip));
        }
        self.vips.insert(vip, plan);
    }

    /// What is to come after `kind` has been sent. Counted from the sending, not from
    /// the due time: a round that the pacing held back must not bring the next one
    /// within the locktime.
    fn after(&self, now: BootTime, vip: Vip, plan: Plan, kind: Kind) -> Plan {
        match kind {
            Kind::Defence => Plan { defence: None, ..plan },
            Kind::Takeover(round) if round < ROUNDS => {
                let next = (now + ROUND_INTERVAL, Kind::Takeover(round + 1));
                Plan { next: Some(next), ..plan }
            }
            Kind::Takeover(_) | Kind::Refresh => {
                let refreshes = plan.refreshes.wrapping_add(1);
                Plan { next: self.refresh_after(now, vip, refreshes), refreshes, ..plan }
            }
        }
    }

    /// Within 0.75 to 1.25 of the interval, and up to a second: VIPs that were taken together, and nodes
    /// that started together, do not refresh together for long.
    fn refresh_after(&self, now: BootTime, vip: Vip, nth: u32) -> Option<(BootTime, Kind)> {
        let interval = self.refresh?;
        let due = now + interval.mul_f64(0.75 + spread(vip, nth) / 2.0);
        let slot = due.as_nanos().div_ceil(REFRESH_SLOT_NS);
        Some((BootTime::from_nanos(slot.saturating_mul(REFRESH_SLOT_NS)), Kind::Refresh))
    }

    fn next_due(&self, now: BootTime) -> Option<(Vip, Waiting)> {
        let is_due = |(due, ..): &(BootTime, Vip, Waiting)| *due <= now;
        let mut waiting = self.queues.oldest().filter(is_due);
        let next = if self.turn + 1 == FAIR_TURN {
            waiting.min_by_key(|(due, ..)| *due)
        } else {
            let newest = self.queues.firsts.last();
            let newest = newest.map(|&(due, vip)| (due, vip, Waiting::Next)).filter(is_due);
            newest.or_else(|| waiting.next())
        };
        next.map(|(_, vip, what)| (vip, what))
    }
}

/// A fraction in 0..1 that differs between VIPs and from one refresh to the next:
/// jitter without a random number, so that schedules can be replayed.
fn spread(vip: Vip, nth: u32) -> f64 {
    let mut h = SipHasher13::new_with_keys(0x7265_6672_6573_6831, 0);
    h.write(&vip.octets());
    h.write(&nth.to_be_bytes());
    f64::from((h.finish() >> 40) as u32) / f64::from(1 << 24)
}

#[cfg(test)]
mod tests;
