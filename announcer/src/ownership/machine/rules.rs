//! The rules for one VIP: whose it is, and what follows for this node. Pure.

use std::time::Duration;

use super::{
    super::{
        lease::{Claim, Request},
        peers::Tenure,
        placement,
        vip::{Slot, Standing},
    },
    Machine, VipIntent,
};
use crate::types::{BootTime, NodeName, Session, Vip};

/// What to send about a VIP, and when to look at it again.
pub(super) type Decision = (Option<Request>, Option<BootTime>);

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
        // Whatever else is waited for: answering ends when it must.
        let answering_ends = slot.answering_ends(now, self.settings.timing);
        if let Some(at) = wake.into_iter().chain(answering_ends).min() {
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
        self.misplaced.remove(&vip);
        if slot.pending {
            return (None, None);
        }
        if now < slot.retry_at {
            return (None, Some(slot.retry_at));
        }
        if slot.must_read {
            return (Some(Request::ReadVip(vip)), None);
        }
        let wanted = self.intent.as_ref().and_then(|i| i.vips.get(&vip)).cloned();
        let standing = self.standing(now, slot);
        if !matches!(standing, Standing::Free { .. }) {
            slot.free_since = None;
        }
        match (standing, wanted) {
            (Standing::Mine, Some(wanted)) => self.keep_or_give(now, vip, slot, &wanted),
            (Standing::Mine, None) => {
                // No Service wants it any more: nothing to hand over.
                slot.dropping = true;
                (self.release(vip, slot, Claim::RELEASED), None)
            }
            (Standing::MineToRestore, Some(_)) if self.heartbeat.valid(now) => {
                (self.write_mine(vip, slot), None)
            }
            (Standing::MineToRestore, _) => (None, None),
            (Standing::Free { offered_by, offered_to }, Some(wanted)) => {
                let since = *slot.free_since.get_or_insert(now);
                if offered_by.as_ref() == Some(&self.settings.me)
                    && let Some(ends) = slot.offer_ends
                {
                    return self.await_successor(now, vip, slot, offered_to.as_ref(), ends);
                }
                let offer = (offered_by.as_ref(), offered_to.as_ref());
                self.take(now, vip, slot, &wanted, offer, since)
            }
            (Standing::FreeAt(at), Some(_)) => (None, Some(at)),
            (Standing::Stale(node, named_at), Some(_)) => {
                self.peers.refresh(now, &node, named_at);
                (None, Some(now + self.settings.timing.renew_interval()))
            }
            (Standing::Other(_) | Standing::Unknown, _) | (_, None) => (None, None),
        }
    }

    pub(super) fn standing(&self, now: BootTime, slot: &Slot) -> Standing {
        let free = Standing::Free { offered_by: None, offered_to: None };
        let (node, held_in, version) = match (&slot.holder, slot.claim()) {
            (_, Some(Claim::Released { offered_by, offered_to })) => {
                let (offered_by, offered_to) = (offered_by.clone(), offered_to.clone());
                return Standing::Free { offered_by, offered_to };
            }
            // Held by nobody that we know of: at once, unless somebody may have taken
            // it and lost its lease to a human hand, before we came or unseen by us.
            (None, _) => {
                let since = self.blind_until.max(slot.missing_since);
                return since.map_or(free, |since| self.after_a_duration(now, since));
            }
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

    /// Free a lease duration after `since`. Even if no other node is to be seen: its
    /// lease may have been deleted too.
    fn after_a_duration(&self, now: BootTime, since: BootTime) -> Standing {
        let at = self.duration_after(now, since);
        if now < at {
            Standing::FreeAt(at)
        } else {
            Standing::Free { offered_by: None, offered_to: None }
        }
    }

    /// A lease duration after `since`, counting only time in which our own renewals
    /// succeeded: a holder that was cut off as we were has it from then on.
    pub(super) fn duration_after(&self, now: BootTime, since: BootTime) -> BootTime {
        let connected = self.heartbeat.connected_since().unwrap_or(now);
        since.max(connected) + self.settings.timing.lease_duration()
    }

    /// A VIP that nobody holds, or that its holder offers: take it when it is this
    /// node's turn.
    fn take(
        &self,
        now: BootTime,
        vip: Vip,
        slot: &mut Slot,
        wanted: &VipIntent,
        (offered_by, offered_to): (Option<&NodeName>, Option<&NodeName>),
        since: BootTime,
    ) -> Decision {
        let me = &self.settings.me;
        if self.draining || !self.heartbeat.valid(now) || !wanted.eligible.contains(me) {
            return (None, None);
        }
        let at = self.turn(vip, wanted, (offered_by, offered_to), since);
        if now < at {
            return (None, Some(at));
        }
        let nobody = offered_by.is_none() && slot.holder.is_none();
        slot.from_nobody = self.settings.probing && nobody;
        (self.write_mine(vip, slot), None)
    }

    /// When it is this node's turn to take a VIP that is free since then: nodes follow
    /// each other by rank.
    pub(super) fn turn(
        &self,
        vip: Vip,
        wanted: &VipIntent,
        (offered_by, offered_to): (Option<&NodeName>, Option<&NodeName>),
        since: BootTime,
    ) -> BootTime {
        let me = &self.settings.me;
        let live = self.peers.live().filter(|n| wanted.eligible.contains(*n));
        let rivals = live.filter(|n| Some(*n) != offered_by);
        let rank = placement::vip_rank(vip, me, &wanted.preferred, rivals);
        let in_turn = |rank: usize| {
            self.settings.timing.stagger() * u32::try_from(rank).unwrap_or(u32::MAX).min(100)
        };
        let head_start = match offered_to {
            Some(to) if to == me => Duration::ZERO,
            // Theirs to settle, as long as the one who offers it answers.
            Some(_) if offered_by.is_some_and(|by| self.peers.is_live(by)) => {
                self.settings.handover_timeout + in_turn(rank + 1)
            }
            _ => in_turn(rank),
        };
        since + head_start
    }

    /// Writes that this node holds the VIP.
    pub(super) fn write_mine(&self, vip: Vip, slot: &Slot) -> Option<Request> {
        let session: Session = self.heartbeat.session()?.clone();
        let claim = Claim::Held { node: self.settings.me.clone(), session };
        Some(Request::WriteVip { vip, expect: slot.expect(), claim })
    }

    /// Writes that nobody does.
    pub(super) fn release(&self, vip: Vip, slot: &Slot, claim: Claim) -> Option<Request> {
        Some(Request::WriteVip { vip, expect: slot.expect(), claim })
    }
}
