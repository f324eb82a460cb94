//! This node's own session: opened, renewed, lost, closed. Pure.
//!
//! Validity counts from the *sending* of a renewal that was answered with
//! success. The answer's arrival proves that the write was applied at some time
//! between the two; only the earlier bound is safe, since observers may have
//! seen the write as soon as it was applied.

use std::time::Duration;

use super::{
    lease::{Expect, NodeLease, Reply, Request, Seen},
    timing::Timing,
};
use crate::types::{BootTime, NodeName, Session};

/// How far ahead a deadline is when nothing is to be done.
const IDLE: Duration = Duration::from_secs(3600);

/// What to do when the API server does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum OnApiLoss {
    /// Keep answering while the daemon runs and no rival announces the VIP:
    /// nobody can take over through a dead API server.
    #[default]
    Hold,
    /// Stop at the validity deadline: at most one node answers, whatever happens.
    Withdraw,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Known {
    /// Never read, or a write failed in a way that leaves the object in doubt.
    Doubt,
    Absent,
    Present(NodeLease),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pending {
    Read,
    Create,
    Renew { sent: BootTime },
    Open { sent: BootTime },
    Close,
}

/// The state machine of this node's node lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    me: NodeName,
    timing: Timing,
    on_loss: OnApiLoss,
    lease: Known,
    session: Option<Session>,
    adopted: Option<(Session, BootTime)>,
    opened_at: BootTime,
    valid_until: BootTime,
    /// Since when renewals have succeeded without a failure in between.
    connected_since: Option<BootTime>,
    pending: Option<(Pending, BootTime)>,
    next_attempt: BootTime,
    backoff: Duration,
    /// When this loop promised to look again; late by more than the margin is a gap.
    promised: Option<BootTime>,
    /// Since a gap: no holding on until the API server has confirmed the session.
    unconfirmed: Option<BootTime>,
    /// A renewal of ours may have been applied without our hearing of it: the
    /// conflict that follows need not be a fence.
    unanswered: bool,
    /// Writes that conflicted since the last one that succeeded.
    conflicts: u32,
    /// How far answers on trust reach; pushed forward by every poll.
    trust_until: BootTime,
    /// How far a predecessor let the data plane answer. It entitles to nothing
    /// else: part of it may have been trust.
    inherited_until: BootTime,
    wanted: Wanted,
}

/// What this node wants of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wanted {
    /// Not known yet: a predecessor's is kept alive, none is opened.
    Undecided,
    Open,
    Closed,
}

impl Heartbeat {
    const FIRST_BACKOFF: Duration = Duration::from_millis(50);

    /// Starts without a session; `adopted` is the session that a killed
    /// predecessor left in the pinned maps, and until when they answer.
    pub fn new(
        me: NodeName,
        timing: Timing,
        on_loss: OnApiLoss,
        adopted: Option<(Session, BootTime)>,
    ) -> Self {
        Self {
            me,
            timing,
            on_loss,
            lease: Known::Doubt,
            session: None,
            adopted,
            opened_at: BootTime::ZERO,
            valid_until: BootTime::ZERO,
            connected_since: None,
            pending: None,
            next_attempt: BootTime::ZERO,
            backoff: Self::FIRST_BACKOFF,
            promised: None,
            // A new process has confirmed nothing yet.
            unconfirmed: Some(BootTime::ZERO),
            unanswered: false,
            conflicts: 0,
            trust_until: BootTime::ZERO,
            inherited_until: BootTime::ZERO,
            wanted: Wanted::Undecided,
        }
    }

    /// The session in force; `None` before the first, after a fence, at the end.
    pub const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// When the session in force was opened (or taken up) by this process.
    pub const fn opened_at(&self) -> BootTime {
        self.opened_at
    }

    /// A predecessor's session that has yet to be compared with the lease.
    pub fn inherited(&self) -> Option<&Session> {
        self.adopted.as_ref().map(|(session, _)| session)
    }

    /// When it is tried again, after a request about the node lease that failed.
    pub const fn next_attempt(&self) -> BootTime {
        self.next_attempt
    }

    /// Since when every renewal has succeeded; `None` while they fail.
    pub const fn connected_since(&self) -> Option<BootTime> {
        self.connected_since
    }

    /// Until when the node may act on its session, or might have: rule 1 of the protocol.
    pub const fn valid_until(&self) -> BootTime {
        self.valid_until
    }

    /// Whether the node may act on its session: rule 1 of the protocol.
    pub fn valid(&self, now: BootTime) -> bool {
        self.session.is_some() && now < self.valid_until
    }

    /// Until when held VIPs may be answered; `None` without a session.
    pub fn answer_until(&self, now: BootTime) -> Option<BootTime> {
        self.session.as_ref()?;
        let trusted = if self.may_hold_on(now) { self.trust_until } else { BootTime::ZERO };
        Some(self.valid_until.max(trusted).max(self.inherited_until))
    }

    /// Whether the answer to a renewal is late: it takes milliseconds as a rule.
    pub fn overdue(&self, now: BootTime) -> bool {
        matches!(self.pending, Some((_, sent)) if now > sent + self.timing.stagger())
    }

    /// Whether VIPs are answered on trust: the API server is silent, and this
    /// daemon has run throughout. A rival's announcement ends it.
    pub fn may_hold_on(&self, now: BootTime) -> bool {
        let strained = self.connected_since.is_none() || now >= self.strained_at();
        self.on_loss == OnApiLoss::Hold
            && self.session.is_some()
            && self.is_trusted()
            && (self.unanswered || matches!(self.lease, Known::Present(_)))
            && strained
    }

    /// Whether this daemon has run throughout, as far as it knows: then it may answer on trust.
    pub const fn is_trusted(&self) -> bool {
        self.unconfirmed.is_none()
    }

    /// How far ahead the data plane may answer on trust: a daemon that dies then
    /// cannot yield to a rival, so as short as a busy machine allows.
    fn trust(&self) -> Duration {
        self.timing.margin() * 2
    }

    /// When half of the validity has gone by unconfirmed: an answer is overdue, and
    /// a loop that is late now and then still has the other half.
    fn strained_at(&self) -> BootTime {
        self.valid_until - self.timing.validity() / 2
    }

    /// Says whether there is to be a session. If not, the one in force is closed
    /// by the next write, and nothing is sent any more.
    pub fn want(&mut self, now: BootTime, session: bool) {
        let wanted = if session { Wanted::Open } else { Wanted::Closed };
        if self.wanted != wanted {
            self.wanted = wanted;
            self.next_attempt = now;
        }
    }

    /// Whether none is wanted, and none is in force or under way.
    pub fn closed(&self) -> bool {
        self.wanted == Wanted::Closed && self.step().is_none() && self.pending.is_none()
    }

    /// Nobody could hear this node until now: what it answers on trust ends, until
    /// a renewal that is sent from now on succeeds.
    pub fn distrust(&mut self, now: BootTime) {
        self.unconfirmed = Some(now);
        self.trust_until = BootTime::ZERO;
    }

    /// Takes in a watch event or a read. Returns whether the session changed.
    pub fn observe(&mut self, now: BootTime, seen: Seen<NodeLease>) -> bool {
        match seen {
            Seen::Present(lease) => {
                if let Known::Present(known) = &self.lease
                    && lease.version <= known.version
                {
                    return false;
                }
                self.learn(now, lease)
            }
            Seen::Absent(version) => {
                if let (Known::Present(known), Some(version)) = (&self.lease, version)
                    && version < known.version
                {
                    return false;
                }
                self.lease = Known::Absent;
                self.lose(now)
            }
        }
    }

    /// Takes in the answer to the request that [`poll`](Self::poll) returned.
    /// Returns whether the session changed.
    pub fn answered(&mut self, now: BootTime, reply: Reply<NodeLease>) -> bool {
        let Some((pending, _)) = self.pending.take() else { return false };
        match (reply, pending) {
            (Reply::Ok(lease), Pending::Read | Pending::Create) => {
                // The first conflict is one with a write that this read tells of. More
                // of them without news come from elsewhere, and go on.
                self.next_attempt = if self.conflicts > 1 { now + self.pause() } else { now };
                self.unanswered |= lease.open && self.session.as_ref() == Some(&lease.session);
                self.learn_if_newer(now, lease)
            }
            (Reply::Ok(lease), Pending::Renew { sent }) => {
                let changed = self.learn_if_newer(now, lease);
                self.confirmed(now, sent);
                changed
            }
            (Reply::Ok(lease), Pending::Open { sent }) => {
                let session = lease.session.clone();
                let current = match &self.lease {
                    Known::Present(known) => known.version <= lease.version,
                    Known::Doubt | Known::Absent => true,
                };
                if !current {
                    // Fenced before the answer came: the next attempt opens another.
                    self.next_attempt = now;
                    return false;
                }
                self.lease = Known::Present(lease);
                self.session = Some(session);
                self.adopted = None;
                self.opened_at = now;
                self.valid_until = BootTime::ZERO;
                self.confirmed(now, sent);
                true
            }
            (Reply::Ok(lease), Pending::Close) => {
                self.next_attempt = now;
                let lost = self.learn_if_newer(now, lease);
                self.session.take().is_some() || lost
            }
            (Reply::NotFound, _) => {
                self.lease = Known::Absent;
                self.lose(now)
            }
            (Reply::Conflict, _) => {
                self.lease = Known::Doubt;
                self.conflicts = self.conflicts.saturating_add(1);
                self.next_attempt = now;
                false
            }
            (Reply::Failed, _) => {
                self.unanswered |= matches!(pending, Pending::Renew { .. });
                self.connected_since = None;
                self.next_attempt = now + self.pause();
                false
            }
        }
    }

    /// What to send now, if anything. To be called whenever time or an input
    /// has passed; notices gaps in its own calls.
    pub fn poll(&mut self, now: BootTime) -> Option<Request> {
        if self.promised.is_some_and(|p| now > p + self.timing.margin()) {
            self.unconfirmed = Some(now);
        }
        if self.may_hold_on(now) && self.trust_until < now + self.trust() * 3 / 4 {
            self.trust_until = now + self.trust();
        }
        let request = self.due(now);
        self.promised = Some(self.next_deadline(now));
        request
    }

    fn due(&mut self, now: BootTime) -> Option<Request> {
        if self.pending.is_some() || now < self.next_attempt {
            return None;
        }
        let (pending, request) = self.step()?;
        let pending = match pending {
            Pending::Renew { .. } => Pending::Renew { sent: now },
            Pending::Open { .. } => Pending::Open { sent: now },
            other => other,
        };
        if pending == Pending::Close {
            // It may be applied at any time from now on. And who renews nothing
            // does not notice an outage.
            self.connected_since = None;
            self.valid_until = BootTime::ZERO;
            self.trust_until = BootTime::ZERO;
            self.inherited_until = BootTime::ZERO;
        }
        self.pending = Some((pending, now));
        Some(request)
    }

    /// What would be sent, were it time to.
    fn step(&self) -> Option<(Pending, Request)> {
        let sent = BootTime::ZERO;
        let nothing_to_close = self.session.is_none() && self.adopted.is_none();
        match (self.wanted, &self.lease) {
            (Wanted::Closed, _) if nothing_to_close => None,
            (_, Known::Doubt) => Some((Pending::Read, Request::ReadNode(self.me.clone()))),
            // Closed first, opened by the next write: sessions begin and end
            // where all nodes look, leases that are born open nobody would see.
            (Wanted::Open, Known::Absent) => Some((Pending::Create, self.write(None, 0, false))),
            (Wanted::Undecided | Wanted::Closed, Known::Absent) => None,
            (wanted, Known::Present(lease)) => {
                let (expect, transitions) = (Some(lease.expect()), lease.session.transitions());
                let mine = lease.open && self.session.as_ref() == Some(&lease.session);
                let next = transitions.saturating_add(1);
                match (wanted, mine) {
                    (Wanted::Open | Wanted::Undecided, true) => {
                        Some((Pending::Renew { sent }, self.write(expect, transitions, true)))
                    }
                    (Wanted::Closed, true) => {
                        Some((Pending::Close, self.write(expect, next, false)))
                    }
                    (Wanted::Open, false) => {
                        Some((Pending::Open { sent }, self.write(expect, next, true)))
                    }
                    (Wanted::Undecided | Wanted::Closed, false) => None,
                }
            }
        }
    }

    /// When `poll` must be called next, whatever else happens.
    pub fn next_deadline(&self, now: BootTime) -> BootTime {
        let next = match &self.pending {
            // By then the answer, or its absence, is an input of its own.
            Some((_, sent)) => {
                let given_up = *sent + self.timing.request_timeout();
                if given_up > now { given_up } else { now + self.timing.renew_interval() }
            }
            None if self.step().is_none() => now + IDLE,
            None => self.next_attempt,
        };
        // On trust, the deadline is pushed forward in steps of a quarter of itself; and
        // the moment when a missing answer begins to matter is not slept through.
        let strained_at = self.strained_at();
        if self.may_hold_on(now) {
            next.min(now + self.trust() / 4)
        } else if self.on_loss == OnApiLoss::Hold && now < strained_at {
            next.min(strained_at)
        } else {
            next
        }
        .max(now)
    }

    /// How long to wait now; twice as long the next time.
    fn pause(&mut self) -> Duration {
        let pause = self.backoff;
        self.backoff = (self.backoff * 2).min(self.timing.renew_interval());
        pause
    }

    fn write(&self, expect: Option<Expect>, transitions: u32, open: bool) -> Request {
        Request::WriteNode { node: self.me.clone(), expect, transitions, open }
    }

    fn learn_if_newer(&mut self, now: BootTime, lease: NodeLease) -> bool {
        match &self.lease {
            Known::Present(known) if known.version > lease.version => false,
            _ => self.learn(now, lease),
        }
    }

    fn learn(&mut self, now: BootTime, lease: NodeLease) -> bool {
        let current = lease.open.then(|| lease.session.clone());
        self.lease = Known::Present(lease);
        if let Some((session, until)) = self.adopted.take() {
            if current.as_ref() == Some(&session) {
                self.session = Some(session);
                self.opened_at = now;
                self.inherited_until = until;
                self.next_attempt = now;
            }
            return true;
        }
        if self.session.is_some() && self.session != current { self.lose(now) } else { false }
    }

    fn lose(&mut self, now: BootTime) -> bool {
        self.valid_until = BootTime::ZERO;
        self.trust_until = BootTime::ZERO;
        self.inherited_until = BootTime::ZERO;
        if self.pending.is_none() {
            self.next_attempt = now;
        }
        let adopted = self.adopted.take().is_some();
        self.session.take().is_some() || adopted
    }

    /// A write of ours was applied, and we know it now.
    fn confirmed(&mut self, now: BootTime, sent: BootTime) {
        self.unanswered = false;
        self.conflicts = 0;
        self.backoff = Self::FIRST_BACKOFF;
        self.connected_since.get_or_insert(now);
        if self.session.is_none() {
            self.next_attempt = now;
            return;
        }
        if self.unconfirmed.is_some_and(|gap| sent >= gap) {
            self.unconfirmed = None;
        }
        self.valid_until = self.valid_until.max(sent + self.timing.validity());
        // An answer that leaves no validity extends nothing: again at once.
        self.next_attempt = if now < self.valid_until {
            (sent + self.timing.renew_interval()).max(now)
        } else {
            now
        };
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
