//! The rules for one VIP: whose it is, and what follows for this node. Pure.

use std::collections::BTreeSet;

use super::{
    super::{
        lease::{Claim, Request},
        peers::Tenure,
        placement,
        vip::{Slot, Standing},
    },
    Machine,
};
use crate::types::{BootTime, NodeName, Session, Vip};

/// What to send about a VIP, and when to look at it again.
type Decision = (Option<Request>, Option<BootTime>);

impl Machine {
    /// Looks at one VIP and decides what to send about it.
    pub(super) fn look(&mut self, now: BootTime, vip: Vip) -> Option<Request> {
        if !self.nodes_listed || !self.vips_listed || self.intent.is_none() {
            return None;
        }
        let mut slot = self.slots.remove(&vip).unwrap_or_default();
        if let Some(at) = slot.timer.take() {
            self.timers.remove(&(at, vip));
        }
        let (request, wake) = self.decide(now, vip, &mut slot);
        slot.pending |= request.is_some();
        if let Some(at) = wake {
            slot.timer = Some(at);
            self.timers.insert((at, vip));
        }
        let wanted = self.intent.as_ref().is_some_and(|i| i.vips.contains_key(&vip));
        if wanted || slot.lease.is_some() || slot.pending {
            self.slots.insert(vip, slot);
        }
        request
    }

    /// The rules, for one VIP: what to send, and when to look again.
    fn decide(&mut self, now: BootTime, vip: Vip, slot: &mut Slot) -> Decision {
        if slot.pending {
            return (None, None);
        }
        if now < slot.retry_at {
            return (None, Some(slot.retry_at));
        }
        if slot.must_read {
            return (Some(Request::ReadVip(vip)), None);
        }
        let eligible =
            self.intent.as_ref().and_then(|i| i.vips.get(&vip)).map(|v| v.eligible.clone());
        let standing = self.standing(now, slot);
        if !matches!(standing, Standing::Free { .. }) {
            slot.free_since = None;
        }
        match (standing, eligible) {
            (Standing::Mine, eligible) => self.keep_or_give(now, vip, slot, eligible.as_deref()),
            (Standing::MineToRestore, Some(_)) => (self.write_mine(vip, slot), None),
            (Standing::MineToRestore, None) => (None, None),
            (Standing::Free { offered_by }, Some(eligible)) => {
                let since = *slot.free_since.get_or_insert(now);
                self.take(now, vip, slot, &eligible, offered_by.as_ref(), since)
            }
            (Standing::FreeAt(at), Some(_)) => (None, Some(at)),
            (Standing::Stale(node, named_at), Some(_)) => {
                self.peers.refresh(now, &node, named_at);
                (None, Some(now + self.settings.timing.renew_interval()))
            }
            (Standing::Other(_), _) => (None, slot.overlap_ends.filter(|t| *t > now)),
            (Standing::Unknown, _) | (_, None) => (None, None),
        }
    }

    fn standing(&self, now: BootTime, slot: &Slot) -> Standing {
        let free = Standing::Free { offered_by: None };
        let (node, held_in, version) = match (&slot.holder, slot.claim()) {
            (_, Some(Claim::Released { offered_by })) => {
                return Standing::Free { offered_by: offered_by.clone() };
            }
            // Held by nobody that we know of: at once, unless somebody may have
            // taken it and lost its lease to a human hand before we came.
            (None, _) => return self.after_a_duration(now, self.blind_until),
            (Some((node, held_in, version)), _) => (node, held_in, *version),
        };
        let held = matches!(slot.claim(), Some(Claim::Held { .. }));
        let over = if *node == self.settings.me {
            match self.heartbeat.session() {
                Some(session) if session != held_in => free,
                Some(_) if held => return Standing::Mine,
                Some(_) => return Standing::MineToRestore,
                None => return Standing::Unknown,
            }
        } else {
            let connected = self.heartbeat.connected_since();
            match self.peers.tenure(node, held_in, version, connected) {
                Tenure::Over => free,
                Tenure::OverAt(at) if now >= at => free,
                Tenure::OverAt(at) => return Standing::FreeAt(at),
                Tenure::Stale => return Standing::Stale(node.clone(), version),
                // Though its lease be deleted or edited by hand: as long as the
                // session lasts it may answer, and is to write the lease anew.
                Tenure::Current => return Standing::Other(node.clone()),
            }
        };
        match slot.missing_since {
            // Who took it after that session, and lost its lease to a hand, has
            // the time to write it anew: a creation is no compare-and-swap.
            Some(since) if !held => self.after_a_duration(now, since),
            _ => over,
        }
    }

    /// Free a lease duration after `since`, or at once if this node is alone.
    fn after_a_duration(&self, now: BootTime, since: BootTime) -> Standing {
        let at = since + self.settings.timing.lease_duration();
        if now < at && self.peers.live().next().is_some() {
            Standing::FreeAt(at)
        } else {
            Standing::Free { offered_by: None }
        }
    }

    /// A VIP that is ours: keep it, or offer or release it.
    fn keep_or_give(
        &self,
        now: BootTime,
        vip: Vip,
        slot: &mut Slot,
        eligible: Option<&BTreeSet<NodeName>>,
    ) -> Decision {
        let Some(eligible) = eligible else {
            // No Service wants it any more: nothing to hand over.
            slot.dropping = true;
            return (self.release(vip, slot, None), None);
        };
        slot.dropping = false;
        let stay = !self.draining && eligible.contains(&self.settings.me);
        if stay {
            slot.offer_ends = None;
            return (None, None);
        }
        let successor = self.peers.live().any(|n| eligible.contains(n));
        if successor {
            let ends = now + self.settings.handover_timeout;
            slot.offer_ends = Some(ends);
            (self.release(vip, slot, Some(self.settings.me.clone())), None)
        } else if self.draining {
            slot.dropping = true;
            (self.release(vip, slot, None), None)
        } else {
            // An ineligible holder is better than none.
            (None, None)
        }
    }

    fn take(
        &self,
        now: BootTime,
        vip: Vip,
        slot: &mut Slot,
        eligible: &BTreeSet<NodeName>,
        offered_by: Option<&NodeName>,
        since: BootTime,
    ) -> Decision {
        let me = &self.settings.me;
        if offered_by == Some(me)
            && let Some(ends) = slot.offer_ends
        {
            // Answered until somebody takes it. When nobody does: the end, or,
            // for a node that stays, back into its hands just before that.
            let reclaim_at = ends - self.settings.timing.stagger();
            return match (self.draining, now < reclaim_at) {
                (true, _) => (None, (now < ends).then_some(ends)),
                (false, true) => (None, Some(reclaim_at)),
                (false, false) => (self.write_mine(vip, slot), None),
            };
        }
        if self.draining || !self.heartbeat.valid(now) || !eligible.contains(me) {
            return (None, None);
        }
        let rivals = self.peers.live().filter(|n| eligible.contains(*n) && Some(*n) != offered_by);
        let rank = placement::vip_rank(vip, me, rivals);
        let head_start =
            self.settings.timing.stagger() * u32::try_from(rank).unwrap_or(u32::MAX).min(100);
        let at = since + head_start;
        if now < at { (None, Some(at)) } else { (self.write_mine(vip, slot), None) }
    }

    fn write_mine(&self, vip: Vip, slot: &Slot) -> Option<Request> {
        let session: Session = self.heartbeat.session()?.clone();
        let claim = Claim::Held { node: self.settings.me.clone(), session };
        Some(Request::WriteVip { vip, expect: slot.expect(), claim })
    }

    fn release(&self, vip: Vip, slot: &Slot, offered_by: Option<NodeName>) -> Option<Request> {
        let claim = Claim::Released { offered_by };
        Some(Request::WriteVip { vip, expect: slot.expect(), claim })
    }
}
