//! One VIP: what its lease says, what follows for this node. Pure.

use std::time::Duration;

use super::{
    lease::{Claim, Expect, Seen, Version, VipLease},
    timing::Timing,
};
use crate::types::{BootTime, NodeName, Session};

/// How long an old holder goes on after the lease names its successor, unless
/// the successor's announcement on the wire ends it first. It is the bound for
/// a successor whose first frame is lost, not the usual length of a handover.
pub const HANDOVER_OVERLAP: Duration = Duration::from_millis(200);

/// Who a VIP belongs to, as far as this node can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The leases have not been read yet.
    Unknown,
    /// This node's, in its session in force.
    Mine,
    /// Somebody edited or deleted the lease of a VIP that is this node's: write it anew.
    MineToRestore,
    /// Another node's.
    Other(NodeName),
    /// Free to be taken by anyone eligible; by `offered_by` only when its offer is over.
    Free {
        /// The node that gives it up, and answers until somebody has taken it.
        offered_by: Option<NodeName>,
        /// The node that it is meant for, if for one.
        offered_to: Option<NodeName>,
    },
    /// Free at a known time, if nothing changes until then.
    FreeAt(BootTime),
    /// The holder's node lease must be read again before anything can be said:
    /// our reading is older than this version of the VIP lease.
    Stale(NodeName, Version),
}

/// What is remembered of one VIP lease between inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The newest reading; `None` before the first.
    pub lease: Option<Seen<VipLease>>,
    /// The last node that held it in order, and the version that said so.
    pub holder: Option<(NodeName, Session, Version)>,
    /// Since when the lease has been unclear, or absent though it was there before.
    pub missing_since: Option<BootTime>,
    /// Since when it has been free to take.
    pub free_since: Option<BootTime>,
    /// A request is under way.
    pub pending: bool,
    /// After a failure: not before.
    pub retry_at: BootTime,
    /// Failures and conflicts since the last write that succeeded.
    pub setbacks: u32,
    /// A read is due (a conflict, a doubt).
    pub must_read: bool,
    /// The write that is under way, or was last, takes it from nobody: no node is known
    /// to have held it.
    pub from_nobody: bool,
    /// Given up for good: no answering while the release is on its way.
    pub dropping: bool,
    /// A release of this version that was given up may still be applied.
    pub release_in_doubt: bool,
    /// An offer is on its way; once the lease says so, it stands this long.
    pub offering: Option<Duration>,
    /// Offered to others: answering goes on until then at most.
    pub offer_ends: Option<BootTime>,
    /// Offers that nobody took, one after the other.
    pub vain_offers: u32,
    /// After such an offer: no other before.
    pub offer_after: BootTime,
    /// The successor holds it: answering goes on until then at most.
    pub overlap_ends: Option<BootTime>,
    /// Another node was seen to have it while this one answered for it still.
    pub was_taken: bool,
    /// A rival announced it while this node answered on trust.
    pub yielded: bool,
    /// When the slot wants to be looked at again.
    pub timer: Option<BootTime>,
}

impl Slot {
    /// The newest version that this slot has seen.
    fn version(&self) -> Option<Version> {
        match &self.lease {
            Some(Seen::Present(lease)) => Some(lease.version),
            Some(Seen::Absent(version)) => *version,
            None => None,
        }
    }

    /// What a write must find: the lease last seen, or none to create one.
    pub fn expect(&self) -> Option<Expect> {
        match &self.lease {
            Some(Seen::Present(lease)) => Some(lease.expect()),
            Some(Seen::Absent(_)) | None => None,
        }
    }

    /// What the lease says, if it exists.
    pub const fn claim(&self) -> Option<&Claim> {
        match &self.lease {
            Some(Seen::Present(lease)) => Some(&lease.claim),
            Some(Seen::Absent(_)) | None => None,
        }
    }

    /// Takes in a watch event or a reading. Returns whether it was news.
    pub fn observe(&mut self, now: BootTime, me: &NodeName, seen: Seen<VipLease>) -> bool {
        let new = match &seen {
            Seen::Present(lease) => Some(lease.version),
            Seen::Absent(version) => *version,
        };
        let stale = matches!((self.version(), new), (Some(old), Some(new)) if new < old);
        if stale || self.lease.as_ref() == Some(&seen) {
            return false;
        }
        let ours = self.given_away()
            || self.overlap_ends.is_some()
            || self.holder.as_ref().is_some_and(|(holder, ..)| holder == me);
        match &seen {
            Seen::Present(VipLease { claim: Claim::Held { node, session }, version, .. }) => {
                self.was_taken |= ours && node != me;
                let offered = self.offer_ends.take().is_some_and(|ends| now < ends);
                // Taken so quickly that the offer itself was not seen.
                let offering = node != me && self.offering.take().is_some();
                let successor = node != me && (offered || offering) && self.overlap_ends.is_none();
                if node == me {
                    self.overlap_ends = None;
                } else {
                    self.hope();
                }
                if successor {
                    self.overlap_ends = Some(now + HANDOVER_OVERLAP);
                }
                self.holder = Some((node.clone(), session.clone(), *version));
                self.missing_since = None;
            }
            Seen::Present(VipLease { claim: Claim::Released { offered_by, .. }, .. }) => {
                self.was_taken |= ours && offered_by.as_ref().is_some_and(|node| node != me);
                // Released by somebody else, or in another way: no offer of ours is left.
                let offering = self.offering.take();
                if offered_by.as_ref() != Some(me) {
                    self.end_handover();
                } else if let Some(stands) = offering {
                    self.offer_ends = Some(now + stands);
                }
                self.holder = None;
                self.missing_since = None;
                self.dropping = false;
            }
            Seen::Present(VipLease { claim: Claim::Unclear, .. }) | Seen::Absent(_) => {
                if self.given_away() {
                    // It may have been taken before the hand came.
                    self.holder = None;
                }
                self.end_handover();
                // Whether we know of a holder or not: between two readings there may
                // have been one that we did not see.
                self.missing_since.get_or_insert(now);
            }
        }
        // Whatever was written against the version before can only fail now.
        self.release_in_doubt = false;
        self.lease = Some(seen);
        true
    }

    /// Which time this node holds the VIP, as a number that is another one each time, if
    /// another node had it since this one first answered for it: neighbours may have been
    /// told of that one, though this one never paused.
    pub fn regained(&self, me: &NodeName) -> Option<u64> {
        let (holder, _, version) = self.holder.as_ref()?;
        (self.was_taken && holder == me).then_some(version.0)
    }

    /// Whether this node has decided to give it up, and not yet decided otherwise.
    pub const fn given_away(&self) -> bool {
        self.offering.is_some()
            || self.offer_ends.is_some()
            || self.dropping
            || self.release_in_doubt
    }

    /// Circumstances have changed: an offer may be taken that was not before.
    pub const fn hope(&mut self) {
        self.vain_offers = 0;
        self.offer_after = BootTime::ZERO;
    }

    /// Until when this node answers for the VIP, its session being `session`: a time in
    /// the past for not at all, `None` for as long as the session lasts.
    pub fn answers_until(
        &self,
        me: &NodeName,
        session: &Session,
        timing: Timing,
    ) -> Option<BootTime> {
        let not_at_all = Some(BootTime::ZERO);
        if self.dropping || self.yielded {
            return not_at_all;
        }
        let mine = self.holder.as_ref().is_some_and(|(n, s, _)| n == me && s == session);
        match self.claim() {
            Some(Claim::Held { .. }) if mine => None,
            Some(Claim::Held { .. }) => self.overlap_ends.or(not_at_all),
            Some(Claim::Released { offered_by, .. }) if offered_by.as_ref() == Some(me) => {
                self.offer_ends.or(not_at_all)
            }
            Some(Claim::Released { .. }) => not_at_all,
            // Deleted or edited by hand: still ours, and about to be written anew.
            Some(Claim::Unclear) | None if mine => self.restore_by(timing),
            Some(Claim::Unclear) | None => not_at_all,
        }
    }

    /// When answering ends though nothing else happens, should it be later than now.
    pub fn answering_ends(&self, now: BootTime, timing: Timing) -> Option<BootTime> {
        [self.overlap_ends, self.offer_ends, self.restore_by(timing)]
            .into_iter()
            .flatten()
            .filter(|ends| now < *ends)
            .min()
    }

    /// Until when a holder may answer whose lease was deleted or edited: who has never
    /// seen that it held the VIP waits a lease duration, and then takes it.
    fn restore_by(&self, timing: Timing) -> Option<BootTime> {
        self.missing_since.map(|since| since + timing.validity())
    }

    /// Another station claims the VIP. If it takes over, an old holder need not go on;
    /// whoever it is, nobody answers beside it on trust.
    pub fn rival(&mut self, takes_over: bool, on_trust: bool) {
        self.yielded |= on_trust;
        if !takes_over {
            return;
        }
        // The answer to our release is late, or was given up, and somebody has seen
        // the release.
        self.dropping |= self.offering.take().is_some() || self.release_in_doubt;
        self.must_read |= self.release_in_doubt;
        self.end_handover();
    }

    /// The handover is over: another one has an overlap of its own.
    const fn end_handover(&mut self) {
        self.offering = None;
        self.offer_ends = None;
        self.overlap_ends = None;
    }
}
