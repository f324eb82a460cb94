//! The other nodes' sessions as this node sees them, and when to fence them. Pure.
//!
//! Everybody learns when a session begins or ends; the renewals in between are
//! delivered to a few *monitors* only, the first live nodes by rendezvous
//! hashing of the watched node. Otherwise n nodes would cost n² watch events.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    lease::{NodeLease, Reply, Request, Seen, Version},
    placement,
    timing::Timing,
};
use crate::types::{BootTime, NodeName, Session};

/// Whether a session that a VIP lease names is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// Its node may still be valid in it.
    Current,
    /// Its node has left it, or was fenced out of it.
    Over,
    /// Its node lease is gone; it counts as over from then on, if our own
    /// renewals go on succeeding. (Its holder may be valid until then.)
    OverAt(BootTime),
    /// Our reading of the node lease is older than the session: read again.
    Stale,
}

/// How many live nodes watch each node's renewals. The others look now and then,
/// the rarer the lower they rank: should all monitors of a node die with it,
/// unfenced themselves and so still counted, one of the others finds out.
pub const MONITORS: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    known: Seen<NodeLease>,
    changed_at: BootTime,
    /// Since when its session has been what it is.
    session_since: BootTime,
    /// When it last gave a VIP to whoever comes first.
    gave_up_at: BootTime,
    /// That it is open follows from its leaving the selection of those that are
    /// over; it may have been deleted instead.
    inferred: bool,
    /// Its lease vanished while its session was open, and only its monitors
    /// know: one of them is to put a closed one in its place, for all to see.
    orphaned: bool,
    /// The request under way, and when it may be given up for lost.
    pending: bool,
    retry_at: BootTime,
    /// Conflicts since there was news of it.
    conflicts: u32,
    /// It was so after the write of this version.
    as_of: Version,
    /// After a conflict, or a stale reading.
    must_read: bool,
    /// The version that made a read necessary, and the newest one that was known
    /// when the read under way was sent: what it finds is no older.
    read_for: Version,
    reading_for: Version,
}

/// All other nodes' node leases.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peers {
    me: NodeName,
    timing: Timing,
    peers: BTreeMap<NodeName, Peer>,
    /// This node's rank among the monitors of each live node, and since when it
    /// has watched (or not watched) that node.
    ranks: BTreeMap<NodeName, (u32, BootTime)>,
    /// A session has begun or ended since the monitors were last worked out.
    stirred: bool,
}

impl Peers {
    /// Knows nobody yet.
    pub const fn new(me: NodeName, timing: Timing) -> Self {
        Self { me, timing, peers: BTreeMap::new(), ranks: BTreeMap::new(), stirred: false }
    }

    /// Nodes whose session is open, as far as seen; not this one.
    pub fn live(&self) -> impl Iterator<Item = &NodeName> {
        self.peers.iter().filter(|(_, p)| p.open().is_some()).map(|(n, _)| n)
    }

    /// Whether this node's session is open, as far as seen.
    pub fn is_live(&self, node: &NodeName) -> bool {
        self.peers.get(node).is_some_and(|peer| peer.open().is_some())
    }

    /// Since when this node may be counted on to keep what it is given: since its session
    /// has been open, and since it last gave up a VIP itself; `None` if it is in no session.
    pub fn steady_since(&self, node: &NodeName) -> Option<BootTime> {
        let peer = self.peers.get(node)?;
        peer.open().map(|_| peer.session_since.max(peer.gave_up_at))
    }

    /// When it is tried again, after a request about this node's lease that failed.
    pub fn next_attempt(&self, node: &NodeName) -> Option<BootTime> {
        self.peers.get(node).map(|peer| peer.retry_at)
    }

    /// Takes in that this node gives a VIP to whoever comes first: it may be leaving.
    pub fn gives_up(&mut self, now: BootTime, node: &NodeName) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.gave_up_at = now;
        }
    }

    /// The nodes whose renewals this one is to watch, as of the last poll.
    pub fn monitored(&self) -> BTreeSet<NodeName> {
        let close = self.ranks.iter().filter(|(_, (rank, _))| *rank < MONITORS);
        close.map(|(node, _)| node.clone()).collect()
    }

    /// Takes in a watch event or a reading. Returns whether any session began or ended.
    pub fn observe(&mut self, now: BootTime, node: &NodeName, seen: Seen<NodeLease>) -> bool {
        let Some(peer) = self.peers.get_mut(node) else {
            self.peers.insert(node.clone(), Peer::new(now, seen));
            self.stirred = true;
            return true;
        };
        match (&peer.known, &seen) {
            (Seen::Present(known), Seen::Present(new)) if new.version <= known.version => {
                return false;
            }
            (Seen::Present(known), Seen::Absent(Some(gone))) if *gone < known.version => {
                return false;
            }
            (Seen::Absent(Some(gone)), Seen::Present(new)) if new.version < *gone => return false,
            (Seen::Absent(_), Seen::Absent(again)) => {
                peer.as_of = peer.as_of.max(again.unwrap_or(Version(0)));
                return false;
            }
            (_, Seen::Absent(gone)) => peer.as_of = gone.unwrap_or(Version(0)),
            (_, Seen::Present(new)) => peer.as_of = new.version,
        }
        let session = |s: &Seen<NodeLease>| match s {
            Seen::Present(l) => Some((l.session.clone(), l.open)),
            Seen::Absent(_) => None,
        };
        let changed = session(&peer.known) != session(&seen);
        peer.orphaned = peer.open().is_some() && !peer.inferred && matches!(seen, Seen::Absent(_));
        peer.inferred = false;
        peer.known = seen;
        peer.changed_at = now;
        peer.conflicts = 0;
        if changed {
            peer.session_since = now;
        }
        self.stirred |= changed;
        changed
    }

    /// Takes in that a closed lease has left the selection of closed ones, as the
    /// open one that it probably is. Returns as `observe` does.
    pub fn opened(&mut self, now: BootTime, node: &NodeName, lease: NodeLease) -> bool {
        let version = lease.version;
        let changed = self.observe(now, node, Seen::Present(lease));
        if let Some(peer) = self.peers.get_mut(node)
            && peer.open().is_some_and(|l| l.version == version)
        {
            peer.inferred = true;
        }
        changed
    }

    /// Takes in the answer to a request about `node`. Returns as `observe` does.
    pub fn answered(&mut self, now: BootTime, node: &NodeName, reply: Reply<NodeLease>) -> bool {
        let retry = self.timing.renew_interval() / 2;
        if let Some(peer) = self.peers.get_mut(node) {
            peer.pending = false;
            match &reply {
                Reply::Ok(_) | Reply::NotFound => {
                    // Unless something newer has asked for another look meanwhile.
                    peer.must_read = peer.reading_for < peer.read_for;
                }
                Reply::Conflict => {
                    peer.must_read = true;
                    // The first comes of a renewal that we have not seen. More of them
                    // without news come from elsewhere, and go on.
                    if peer.conflicts > 0 {
                        peer.retry_at = now + retry * 2_u32.pow(peer.conflicts.min(3));
                    }
                    peer.conflicts = peer.conflicts.saturating_add(1);
                }
                Reply::Failed => peer.retry_at = now + retry,
            }
        }
        match reply {
            // A consistent read: so after everything that we knew when we asked.
            Reply::Ok(lease) => {
                let changed = self.observe(now, node, Seen::Present(lease));
                if let Some(peer) = self.peers.get_mut(node) {
                    peer.as_of = peer.as_of.max(peer.reading_for);
                }
                changed
            }
            Reply::NotFound => {
                let as_of = self.peers.get(node).map(|p| p.reading_for);
                self.observe(now, node, Seen::Absent(as_of))
            }
            Reply::Conflict | Reply::Failed => false,
        }
    }

    /// Whether `session` of `node`, named by a VIP lease of version `named_at`, is over.
    pub fn tenure(
        &self,
        node: &NodeName,
        session: &Session,
        named_at: Version,
        connected_since: Option<BootTime>,
    ) -> Tenure {
        let Some(peer) = self.peers.get(node) else { return Tenure::Stale };
        match &peer.known {
            // An orderly end and a fence both raise the transitions, so no VIP
            // is ever taken in a session that a lease shows as closed.
            Seen::Present(lease) if lease.session == *session => {
                if lease.open {
                    Tenure::Current
                } else {
                    Tenure::Over
                }
            }
            // Sessions never come back: a later one ends it.
            Seen::Present(lease) if lease.session.follows(session) => Tenure::Over,
            // The lease was deleted and made anew. Its node need not know: it may have
            // been one of its own requests, long under way.
            Seen::Present(_) if peer.as_of >= named_at => {
                self.over_after(peer.session_since, connected_since)
            }
            Seen::Absent(_) if peer.as_of >= named_at => {
                self.over_after(peer.changed_at, connected_since)
            }
            // What we know of the node is older than what the VIP lease says of it.
            Seen::Present(_) | Seen::Absent(_) => Tenure::Stale,
        }
    }

    /// D after its lease was seen to be gone; only time counts in which our own
    /// renewals succeeded.
    fn over_after(&self, gone_since: BootTime, connected_since: Option<BootTime>) -> Tenure {
        connected_since.map_or(Tenure::Current, |connected| {
            Tenure::OverAt(gone_since.max(connected) + self.timing.lease_duration())
        })
    }

    /// Asks for a consistent read of a node lease that is older than it should be.
    pub fn refresh(&mut self, now: BootTime, node: &NodeName, named_at: Version) {
        let peer =
            self.peers.entry(node.clone()).or_insert_with(|| Peer::new(now, Seen::Absent(None)));
        peer.must_read = true;
        peer.read_for = peer.read_for.max(named_at);
    }

    /// What to send now. `valid` is this node's own validity: who is not valid
    /// himself fences nobody.
    pub fn poll(
        &mut self,
        now: BootTime,
        valid: bool,
        connected_since: Option<BootTime>,
    ) -> Vec<Request> {
        if std::mem::take(&mut self.stirred) {
            self.rank_monitors(now);
        }
        let due: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, p)| !p.pending && now >= p.retry_at)
            .filter_map(|(node, peer)| {
                if peer.must_read {
                    return Some(Request::ReadNode(node.clone()));
                }
                let due = self.fence_due(node, peer, connected_since).is_some_and(|t| now >= t);
                let (expect, transitions) = match peer.open() {
                    Some(lease) => {
                        (Some(lease.expect()), lease.session.transitions().saturating_add(1))
                    }
                    None => (None, 0),
                };
                (valid && due).then(|| Request::WriteNode {
                    node: node.clone(),
                    expect,
                    transitions,
                    open: false,
                })
            })
            .collect();
        for request in &due {
            let (Request::ReadNode(node) | Request::WriteNode { node, .. }) = request else {
                continue;
            };
            if let Some(peer) = self.peers.get_mut(node) {
                peer.pending = true;
                peer.reading_for = peer.read_for.max(peer.as_of);
            }
        }
        due
    }

    /// When `poll` will next have something to send.
    pub fn next_deadline(&self, connected_since: Option<BootTime>) -> Option<BootTime> {
        self.peers
            .iter()
            .filter(|(_, p)| !p.pending)
            .filter_map(|(node, peer)| {
                if peer.must_read {
                    return Some(peer.retry_at);
                }
                Some(self.fence_due(node, peer, connected_since)?.max(peer.retry_at))
            })
            .min()
    }

    /// Works out which nodes this one monitors. The timer of a node that is new
    /// among them starts now: its renewals have not been seen until now.
    fn rank_monitors(&mut self, now: BootTime) {
        let mut chosen = BTreeMap::new();
        for (node, peer) in &self.peers {
            if peer.open().is_none() && !peer.orphaned {
                continue;
            }
            let others = self.live().filter(|n| *n != node);
            let rank = placement::monitor_rank(node, &self.me, others);
            let rank = u32::try_from(rank).unwrap_or(u32::MAX);
            let before = self.ranks.get(node).filter(|(r, _)| (*r < MONITORS) == (rank < MONITORS));
            let since = before.map_or(now, |(_, since)| *since);
            chosen.insert(node.clone(), (rank, since));
        }
        self.ranks = chosen;
    }

    /// D after the last change, counted only while we watch it and our own
    /// renewals succeed; monitors of lower rank leave the first a head start.
    ///
    /// Who is no monitor sees no renewals: its attempt names a version of long
    /// ago, fails if the node lives, and is followed by a read. Only if nothing
    /// has changed since that read does the next one succeed.
    fn fence_due(
        &self,
        node: &NodeName,
        peer: &Peer,
        connected_since: Option<BootTime>,
    ) -> Option<BootTime> {
        let (rank, ranked_since) = *self.ranks.get(node)?;
        let quiet_since = peer.changed_at.max(connected_since?).max(ranked_since);
        let duration = self.timing.lease_duration();
        let wait = match rank.checked_sub(MONITORS) {
            None => duration + self.timing.stagger() * rank,
            // What was never seen is looked at once, before long: it may have been deleted.
            Some(beyond) if peer.inferred => duration * 4 * beyond.saturating_add(1).min(100),
            // The square keeps the sum over all ranks, and so the cost, bounded.
            Some(beyond) => duration * 4 * beyond.saturating_add(1).min(100).pow(2),
        };
        Some(quiet_since + wait)
    }
}

impl Peer {
    const fn new(now: BootTime, known: Seen<NodeLease>) -> Self {
        let as_of = match &known {
            Seen::Absent(Some(version)) => *version,
            Seen::Present(lease) => lease.version,
            Seen::Absent(None) => Version(0),
        };
        Self {
            known,
            changed_at: now,
            session_since: now,
            gave_up_at: BootTime::ZERO,
            inferred: false,
            orphaned: false,
            pending: false,
            retry_at: BootTime::ZERO,
            conflicts: 0,
            as_of,
            must_read: false,
            read_for: Version(0),
            reading_for: Version(0),
        }
    }

    const fn open(&self) -> Option<&NodeLease> {
        match &self.known {
            Seen::Present(lease) if lease.open => Some(lease),
            Seen::Present(_) | Seen::Absent(_) => None,
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_read_that_finds_nothing_is_news_though_the_watch_has_not_shown_the_deletion() {
        let node = |name: &str| -> NodeName { name.parse().expect("a node name") };
        let timing = Timing::new(Duration::from_secs(3), Duration::from_secs(1)).expect("timings");
        let mut peers = Peers::new(node("node-1"), timing);
        let now = BootTime::ZERO + Duration::from_secs(1000);
        let session = Session::new("node-2", 1);
        let lease = NodeLease { version: Version(7), session, open: true };
        peers.observe(now, &node("node-2"), Seen::Present(lease));
        assert_eq!(peers.poll(now, true, Some(now)), []);
        let now = now + timing.lease_duration();
        let fence = peers.poll(now, true, Some(now - timing.lease_duration()));
        assert!(matches!(&fence[..], [Request::WriteNode { open: false, .. }]), "{fence:?}");
        peers.answered(now, &node("node-2"), Reply::Conflict);
        let read = peers.poll(now, true, Some(now));
        assert_eq!(read, [Request::ReadNode(node("node-2"))]);
        assert!(peers.answered(now, &node("node-2"), Reply::NotFound), "its session is over");
        assert!(!peers.is_live(&node("node-2")));
    }

    #[test]
    fn a_fence_that_conflicts_without_news_is_paced() {
        let node = |name: &str| -> NodeName { name.parse().expect("a node name") };
        let timing = Timing::new(Duration::from_secs(3), Duration::from_secs(1)).expect("timings");
        let mut peers = Peers::new(node("node-1"), timing);
        let start = BootTime::ZERO + Duration::from_secs(1000);
        let session = Session::new("node-2", 1);
        let lease = NodeLease { version: Version(7), session, open: true };
        peers.observe(start, &node("node-2"), Seen::Present(lease.clone()));
        peers.poll(start, true, Some(start));
        let (mut now, mut fences) = (start + timing.lease_duration(), 0);
        let end = now + Duration::from_secs(60);
        while now < end {
            for request in peers.poll(now, true, Some(start)) {
                let fence = matches!(request, Request::WriteNode { .. });
                fences += usize::from(fence);
                let reply = if fence { Reply::Conflict } else { Reply::Ok(lease.clone()) };
                peers.answered(now, &node("node-2"), reply);
            }
            let next = peers.next_deadline(Some(start)).expect("it is still to be fenced");
            now = next.max(now + Duration::from_millis(1));
        }
        assert!((10..=20).contains(&fences), "{fences} in a minute");
    }
}
