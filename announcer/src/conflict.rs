//! Address conflicts (RFC 5227): what becomes of a VIP of this node when a station that
//! is no announcer uses its address. Pure, `now` is an argument.
//!
//! Ownership (or the command line) says which VIPs this node may answer for. [`Claims`]
//! stands between that and the wire: it makes a VIP that nobody held before silent until
//! it has been probed for, and hears of every claim by a stranger. What an announcer
//! claims is ownership's business and never gets here.

mod notice;
mod vendor;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

pub use self::{
    notice::{Notice, Over, Response, What},
    vendor::Vendor,
};
use crate::{
    ownership::placement::jitter,
    types::{BootTime, MacAddr, NodeName, Vip},
    wire_state::{PROBES, ProbeTimes, WireEntry, WireState},
};

/// Least time between two announcements that defend one VIP (RFC 5227 section 1.1).
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// A conflict is over when nobody else has claimed the VIP for so long. A station that
/// uses an address asks for its neighbours more often than that.
const QUIET: Duration = Duration::from_secs(60);
/// Least time between two lines about one conflict.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// How long to leave an address to somebody else before it is probed again; doubled
/// each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// No longer than this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// So many VIPs may begin to be probed at once; the others follow at the rate.
const PROBED_AT_ONCE: u32 = 20;

/// What to do about a station that claims a VIP of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnConflict {
    /// Go on answering, and announce the VIP, at most every 10 s (RFC 5227 section 2.4 c).
    #[default]
    Defend,
    /// Stop answering, and probe now and then whether the other is gone.
    Yield,
    /// Say so, and nothing else.
    Report,
}

/// How addresses are claimed, and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What to do about a conflict.
    pub on_conflict: OnConflict,
    /// P: a first claim waits for 0..P, sends three probes P..2P apart, and waits for 2P
    /// after the last. `None`: first claims are not probed.
    pub probe_interval: Option<Duration>,
    /// How many frames a second an interface may send: first claims wait for each other.
    pub frames_per_second: NonZeroU32,
}

impl Settings {
    /// `--probe-interval` unless told otherwise. RFC 5227 has 1 s, for hosts that wake up
    /// behind a switch which is still learning its topology. Announcers run on links that
    /// are long up; who has the address answers within milliseconds, also a third time;
    /// and the first address of a Service is what people wait for: 0.8 to 1.4 s this way,
    /// 4 to 7 s that way.
    pub const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_millis(200);
}

/// A station that is no announcer, and claims a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// Its MAC.
    pub mac: MacAddr,
    /// The interface on which it was heard.
    pub interface: Arc<str>,
    /// Whether it only asked if it may (an ARP Probe).
    pub probes: bool,
}

/// The VIPs of this node about which there is something to do besides answering.
#[derive(Debug)]
pub struct Claims {
    settings: Settings,
    /// Seeds the jitter.
    node: NodeName,
    affairs: BTreeMap<Vip, Affair>,
    /// The next first claim begins when this many probes have had their turn.
    paced_until: BootTime,
    notices: Vec<Notice>,
    /// The last claim of each VIP by a stranger, for as long as the VIP is wanted.
    last_claims: BTreeMap<Vip, LastClaim>,
}

/// When a stranger claimed a VIP last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastClaim {
    /// Who.
    pub stranger: Stranger,
    /// When.
    pub at: BootTime,
    /// Whether the conflict lasts.
    pub lasts: bool,
}

/// What keeps a VIP of this node from being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It is probed for.
    Probing {
        /// When it is answered if nobody minds.
        until: BootTime,
    },
    /// It is left to a stranger.
    BackingOff {
        /// When it is probed again.
        until: BootTime,
    },
}

/// What is going on about one VIP.
#[derive(Debug)]
struct Affair {
    phase: Phase,
    conflict: Option<Conflict>,
    /// Claims in a row that met a stranger.
    setbacks: u32,
    defended_at: Option<BootTime>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Silent, until nobody has minded.
    Probing { at: ProbeTimes, ends: BootTime },
    /// As ownership says.
    Claimed { since: BootTime },
    /// Silent: it is somebody else's.
    BackingOff { until: BootTime },
}

#[derive(Debug)]
struct Conflict {
    stranger: Stranger,
    last_claim: BootTime,
    told_at: BootTime,
}

impl Claims {
    /// Nothing is going on yet.
    pub const fn new(settings: Settings, node: NodeName) -> Self {
        Self {
            settings,
            node,
            affairs: BTreeMap::new(),
            paced_until: BootTime::ZERO,
            notices: Vec::new(),
            last_claims: BTreeMap::new(),
        }
    }

    /// What keeps a VIP from being answered that ownership says is this node's.
    pub fn hindrance(&self, vip: Vip) -> Option<Hindrance> {
        match self.affairs.get(&vip)?.phase {
            Phase::Probing { ends, .. } => Some(Hindrance::Probing { until: ends }),
            Phase::BackingOff { until } => Some(Hindrance::BackingOff { until }),
            Phase::Claimed { .. } => None,
        }
    }

    /// When a stranger claimed this VIP last, since this process began.
    pub fn last_claim(&self, vip: Vip) -> Option<LastClaim> {
        let lasts = self.affairs.get(&vip).is_some_and(|affair| affair.conflict.is_some());
        self.last_claims.get(&vip).map(|last| LastClaim { lasts, ..last.clone() })
    }

    /// The VIPs that a stranger claims, too; with who it is, and whether they are answered
    /// all the same.
    pub fn contested(&self) -> impl Iterator<Item = (Vip, &Stranger, bool)> {
        self.affairs.iter().filter_map(|(vip, affair)| {
            let is_answered = matches!(affair.phase, Phase::Claimed { .. });
            Some((*vip, &affair.conflict.as_ref()?.stranger, is_answered))
        })
    }

    /// How many VIPs of this node a stranger claims, too.
    pub fn conflicts(&self) -> usize {
        self.contested().count()
    }

    /// This node holds a VIP that nobody held before: it is probed for before it is
    /// answered, unless probing is off. To be called before [`Self::follow`] is given a
    /// state that answers it.
    pub fn claim_first(&mut self, now: BootTime, vip: Vip) {
        let Some(interval) = self.settings.probe_interval else { return };
        if self.affairs.contains_key(&vip) {
            return;
        }
        let cost = Duration::from_secs(1) * PROBES / self.settings.frames_per_second.get();
        let start = now.max(self.paced_until - cost * PROBED_AT_ONCE);
        self.paced_until = self.paced_until.max(now) + cost;
        let phase = self.probing(start, vip, interval, 0);
        self.affairs.insert(vip, Affair { phase, ..Affair::claimed(now) });
    }

    /// Makes of what ownership would have answered what is to be answered, probed for and
    /// defended now. To be called with every new state, and at [`Self::next_deadline`].
    pub fn follow(&mut self, now: BootTime, state: &mut WireState) {
        let is_answered =
            |vip: &&Vip| matches!(state.vips.get(*vip), Some(WireEntry::Answer { .. }));
        let answered: BTreeSet<Vip> = self.affairs.keys().filter(is_answered).copied().collect();
        // What is left to a stranger stays so while ownership is in doubt, as after a fence:
        // who is entitled to it again asks before it answers.
        let is_done = |vip: &Vip, affair: &mut Affair| {
            matches!(affair.phase, Phase::Claimed { .. }) && !answered.contains(vip)
        };
        for (vip, affair) in self.affairs.extract_if(.., is_done) {
            self.notices.extend(affair.over(vip, Over::GivenUp));
        }
        self.last_claims.retain(|vip, _| state.vips.contains_key(vip));
        self.tick(now);
        for (vip, affair) in self.affairs.iter().filter(|(vip, _)| answered.contains(vip)) {
            let entry = match affair.phase {
                Phase::Probing { at, .. } => WireEntry::Probe { at },
                Phase::BackingOff { .. } => WireEntry::Silent,
                Phase::Claimed { .. } => {
                    state.defences.extend(affair.defended_at.map(|at| (*vip, at)));
                    continue;
                }
            };
            state.vips.insert(*vip, entry);
        }
    }

    /// A stranger claims a VIP of this node.
    pub fn heard(&mut self, now: BootTime, vip: Vip, stranger: Stranger) {
        self.tick(now);
        let policy = self.settings.on_conflict;
        // Who probes for what is answered here has its answer.
        let phase = self.affairs.get(&vip).map(|affair| affair.phase);
        if stranger.probes && matches!(phase, None | Some(Phase::Claimed { .. })) {
            return;
        }
        let mut affair = self.affairs.remove(&vip).unwrap_or_else(|| Affair::claimed(now));
        let response = match (affair.phase, policy) {
            (Phase::Probing { .. }, OnConflict::Defend | OnConflict::Yield) => {
                Response::NotClaimed { until: self.back_off(now, vip, &mut affair) }
            }
            (Phase::Claimed { .. }, OnConflict::Yield) => {
                Response::Yielded { until: self.back_off(now, vip, &mut affair) }
            }
            (Phase::Claimed { .. }, OnConflict::Defend) => affair.defend(now),
            (Phase::BackingOff { until }, _) => Response::NotClaimed { until },
            (_, OnConflict::Report) => Response::Reported,
        };
        let told = affair.conflict.as_ref().map(|conflict| conflict.told_at);
        let what = match told {
            None => Some(What::Began),
            Some(told_at) if now >= told_at + TELL_INTERVAL => Some(What::GoesOn),
            Some(_) => None,
        };
        let told_at = if what.is_some() { now } else { told.unwrap_or(now) };
        let notice = |what| Notice { vip, stranger: stranger.clone(), what, response };
        self.notices.extend(what.map(notice));
        let last = LastClaim { stranger: stranger.clone(), at: now, lasts: true };
        self.last_claims.insert(vip, last);
        affair.conflict = Some(Conflict { stranger, last_claim: now, told_at });
        self.affairs.insert(vip, affair);
    }

    /// Whether an address is being probed for.
    pub fn is_probing(&self, vip: Vip) -> bool {
        let phase = self.affairs.get(&vip).map(|affair| affair.phase);
        matches!(phase, Some(Phase::Probing { .. }))
    }

    /// What people should be told since the last call: the edges of conflicts, and a line
    /// now and then in between.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// When [`Self::follow`] is to be called next, though nothing else happens.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.affairs.values().map(Affair::next_change).min()
    }

    /// Whatever changes by time alone.
    fn tick(&mut self, now: BootTime) {
        let due = |affair: &Affair| affair.next_change() <= now;
        let due: Vec<Vip> =
            self.affairs.iter().filter(|(_, affair)| due(affair)).map(|(vip, _)| *vip).collect();
        for vip in due {
            let Some(mut affair) = self.affairs.remove(&vip) else { continue };
            match affair.phase {
                Phase::Probing { .. } => {
                    affair.phase = Phase::Claimed { since: now };
                    // Where conflicts are only reported, the stranger may have answered.
                    if self.settings.on_conflict != OnConflict::Report {
                        self.notices.extend(affair.over(vip, Over::Unanswered));
                        affair.conflict = None;
                    }
                }
                Phase::BackingOff { .. } => {
                    // Who yielded asks first, also where first claims are not probed.
                    let probe = self.settings.probe_interval;
                    let interval = probe.unwrap_or(Settings::DEFAULT_PROBE_INTERVAL);
                    affair.phase = self.probing(now, vip, interval, affair.setbacks);
                }
                Phase::Claimed { .. } => {
                    self.notices.extend(affair.over(vip, Over::Quiet));
                    continue;
                }
            }
            self.affairs.insert(vip, affair);
        }
    }

    /// RFC 5227 section 2.1.1: PROBE_WAIT, then three probes PROBE_MIN to PROBE_MAX apart,
    /// then ANNOUNCE_WAIT.
    fn probing(&self, start: BootTime, vip: Vip, interval: Duration, attempt: u32) -> Phase {
        let part = |n| jitter(vip, &self.node, attempt.wrapping_mul(4).wrapping_add(n));
        let first = start + interval.mul_f64(part(0));
        let second = first + interval.mul_f64(1.0 + part(1));
        let third = second + interval.mul_f64(1.0 + part(2));
        Phase::Probing { at: [first, second, third], ends: third + interval * 2 }
    }

    /// Leaves the address to somebody else for a while; says for how long.
    fn back_off(&self, now: BootTime, vip: Vip, affair: &mut Affair) -> BootTime {
        let longest = FIRST_BACKOFF * 2_u32.saturating_pow(affair.setbacks.min(10));
        let longest = longest.min(LONGEST_BACKOFF);
        let part = jitter(vip, &self.node, affair.setbacks.wrapping_mul(4).wrapping_add(3));
        let until = now + longest.mul_f64(1.0 - part / 4.0);
        affair.setbacks = affair.setbacks.saturating_add(1);
        affair.phase = Phase::BackingOff { until };
        affair.defended_at = None;
        until
    }
}

impl Affair {
    const fn claimed(since: BootTime) -> Self {
        Self { phase: Phase::Claimed { since }, conflict: None, setbacks: 0, defended_at: None }
    }

    /// When it will be in another state, or done with.
    fn next_change(&self) -> BootTime {
        match (self.phase, &self.conflict) {
            (Phase::Probing { ends, .. }, _) => ends,
            (Phase::BackingOff { until }, _) => until,
            (Phase::Claimed { .. }, Some(conflict)) => conflict.last_claim + QUIET,
            // Who comes back now is met with more patience than the first time.
            (Phase::Claimed { since }, None) if self.setbacks > 0 => since + QUIET,
            (Phase::Claimed { since }, None) => since,
        }
    }

    /// One announcement, unless there was one just before.
    fn defend(&mut self, now: BootTime) -> Response {
        if self.defended_at.is_some_and(|at| now < at + DEFEND_INTERVAL) {
            return Response::Answering;
        }
        self.defended_at = Some(now);
        Response::Defended
    }

    fn over(&self, vip: Vip, why: Over) -> Option<Notice> {
        let stranger = self.conflict.as_ref()?.stranger.clone();
        Some(Notice { vip, stranger, what: What::Over(why), response: Response::Answering })
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
