//! Giving VIPs to other nodes in order: when, to whom, how often. Pure.
//!
//! The successor is always in place before the old holder stops. An offer says in
//! the VIP lease that it may be taken, and its holder answers on until it sees
//! who did. What nobody takes goes back to its holder.

use std::time::Duration;

use super::{
    super::{
        lease::{Claim, Request},
        placement,
        vip::Slot,
    },
    Machine, VipIntent,
    rules::Decision,
};
use crate::types::{BootTime, NodeName, Vip};

/// After an offer that nobody took, in lease durations; twice as long each time.
const FIRST_PATIENCE: u32 = 3;
/// No longer than so many times the first.
const MOST_PATIENCE: u32 = 64;
/// A node that came back, or that gave a VIP up and goes on, is trusted with VIPs again after
/// so many lease durations.
const SETTLED_AFTER: u32 = 3;

impl Machine {
    /// A VIP that is ours: keep it, or offer it.
    pub(super) fn keep_or_give(
        &mut self,
        now: BootTime,
        vip: Vip,
        slot: &mut Slot,
        wanted: &VipIntent,
    ) -> Decision {
        slot.dropping = false;
        slot.offering = None;
        slot.offer_ends = None;
        if !self.draining && wanted.eligible.contains(&self.settings.me) {
            if slot.release_in_doubt {
                // One write at a time: what was offered may be yet.
                return self.keep(now, vip, slot, None);
            }
            let ask_again = self.note_better_place(now, vip, slot, wanted);
            return (None, ask_again);
        }
        let successor = self.peers.live().any(|n| wanted.eligible.contains(n));
        match (successor, self.draining) {
            (true, false) if now < slot.offer_after => {
                self.keep(now, vip, slot, Some(slot.offer_after))
            }
            (true, _) => self.offer(vip, slot, None),
            (false, true) => {
                slot.dropping = true;
                (self.release(vip, slot, Claim::RELEASED), None)
            }
            // An ineligible holder is better than none.
            (false, false) => self.keep(now, vip, slot, None),
        }
    }

    /// A release that was given up must not be applied behind our back: then the
    /// lease is written anew, and that one fails.
    fn keep(&self, now: BootTime, vip: Vip, slot: &Slot, ask_again: Option<BootTime>) -> Decision {
        let doubtful = slot.release_in_doubt && self.heartbeat.valid(now);
        (if doubtful { self.write_mine(vip, slot) } else { None }, ask_again)
    }

    /// Offered by this node: answered until somebody takes it.
    pub(super) fn await_successor(
        &self,
        now: BootTime,
        vip: Vip,
        slot: &mut Slot,
        offered_to: Option<&NodeName>,
        ends: BootTime,
    ) -> Decision {
        if self.draining {
            return match offered_to {
                // Whoever can, now.
                Some(_) => self.offer(vip, slot, None),
                None => (None, (now < ends).then_some(ends)),
            };
        }
        // Back into the hands of a node that stays, just before the offer ends.
        let heir_is_gone = offered_to.is_some_and(|heir| !self.peers.is_live(heir));
        let reclaim_at = if heir_is_gone { now } else { ends - self.settings.timing.stagger() };
        if now < reclaim_at {
            return (None, Some(reclaim_at));
        }
        if !self.heartbeat.valid(now) {
            // Its next renewal, if it succeeds, brings the next look.
            return (None, None);
        }
        let patience = self.settings.timing.lease_duration() * FIRST_PATIENCE;
        let longer = 2_u32.saturating_pow(slot.vain_offers).min(MOST_PATIENCE);
        slot.offer_after = now + patience * longer;
        slot.vain_offers = slot.vain_offers.saturating_add(1);
        (self.write_mine(vip, slot), None)
    }

    /// Offers one VIP to the node that should hold it, if it is time for one.
    pub(super) fn rebalance(&mut self, now: BootTime) -> Option<Request> {
        let interval = self.settings.rebalance?;
        if now < self.next_move || !self.heartbeat.valid(now) {
            return None;
        }
        let (vip, heir) = self.misplaced.pop_first()?;
        let mut slot = self.slots.remove(&vip)?;
        let (request, _) = self.offer(vip, &mut slot, Some(heir));
        slot.pending = true;
        self.slots.insert(vip, slot);
        self.next_move = now + interval;
        request
    }

    /// When `rebalance` will next have something to do.
    pub(super) fn next_move(&self) -> Option<BootTime> {
        (!self.misplaced.is_empty()).then_some(self.next_move)
    }

    /// Notes whether another node should hold the VIP. Returns when to ask again.
    fn note_better_place(
        &mut self,
        now: BootTime,
        vip: Vip,
        slot: &Slot,
        wanted: &VipIntent,
    ) -> Option<BootTime> {
        self.settings.rebalance?;
        let live = self.peers.live().filter(|n| wanted.eligible.contains(*n));
        let candidates = live.chain([&self.settings.me]);
        let heir = placement::vip_first(vip, &wanted.preferred, candidates)?.clone();
        let settled_at = self.peers.steady_since(&heir)? + self.settled_after();
        let at = settled_at.max(slot.offer_after);
        if now < at {
            return Some(at);
        }
        self.misplaced.insert(vip, heir);
        None
    }

    /// Another node gives a VIP to whoever comes first. It leaves, or may not have it for a
    /// reason that only it knows: nothing is offered to it until it is seen to stay.
    pub(super) fn note_leaving(&mut self, now: BootTime, node: &NodeName) {
        self.peers.gives_up(now, node);
        let theirs = self.misplaced.iter().filter(|(_, heir)| *heir == node);
        self.dirty.extend(theirs.map(|(vip, _)| *vip));
    }

    fn settled_after(&self) -> Duration {
        self.settings.timing.lease_duration() * SETTLED_AFTER
    }

    fn offer(&self, vip: Vip, slot: &mut Slot, offered_to: Option<NodeName>) -> Decision {
        slot.offering = Some(self.settings.handover_timeout);
        let claim = Claim::Released { offered_by: Some(self.settings.me.clone()), offered_to };
        (self.release(vip, slot, claim), None)
    }
}
