//! Since when each VIP has been whose, and how it came there: what the machine need not
//! remember to decide, and people want to know. Pure.

use std::{collections::BTreeMap, time::Duration};

use super::machine::Takeover;
use crate::types::{BootTime, NodeName, Vip};

/// What is known of each VIP's holder, as far as this node has seen it.
#[derive(Debug)]
pub struct Tenures {
    me: NodeName,
    tenures: BTreeMap<Vip, Tenure>,
    /// Why this node is about to take a VIP; its request is under way.
    attempts: BTreeMap<Vip, Attempt>,
    /// When this node sent its offer of a VIP.
    offers: BTreeMap<Vip, BootTime>,
}

/// One node's time as a VIP's holder, or nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tenure {
    holder: Option<NodeName>,
    since: BootTime,
}

/// Why this node takes a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Why it may.
    pub why: Takeover,
    /// When it saw that the VIP was free.
    pub free_since: BootTime,
    /// From whom, if from another node.
    pub from: Option<NodeName>,
}

/// Something that people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// This node holds the VIP now.
    Taken(Attempt),
    /// This node holds again what it offered: nobody took it.
    TakenBack(Attempt),
    /// What this node offered, another node holds now.
    HandedOver {
        /// Which node.
        to: NodeName,
        /// Since the offer was sent.
        took: Duration,
    },
}

impl Tenures {
    /// Nothing has been seen yet.
    pub const fn new(me: NodeName) -> Self {
        Self { me, tenures: BTreeMap::new(), attempts: BTreeMap::new(), offers: BTreeMap::new() }
    }

    /// A request to take the VIP is under way.
    pub fn taking(&mut self, vip: Vip, attempt: Attempt) {
        self.attempts.insert(vip, attempt);
    }

    /// An offer of the VIP is under way.
    pub fn offering(&mut self, now: BootTime, vip: Vip) {
        self.offers.insert(vip, now);
    }

    /// The request to take the VIP was granted.
    pub fn taken(&mut self, now: BootTime, vip: Vip) -> Option<Move> {
        let attempt = self.attempts.remove(&vip)?;
        self.tenures.insert(vip, Tenure { holder: Some(self.me.clone()), since: now });
        Some(match self.offers.remove(&vip) {
            Some(_) => Move::TakenBack(attempt),
            None => Move::Taken(attempt),
        })
    }

    /// The VIP's lease names this holder now.
    pub fn seen(&mut self, now: BootTime, vip: Vip, holder: Option<&NodeName>) -> Option<Move> {
        let same = |tenure: &&Tenure| tenure.holder.as_ref() == holder;
        if self.tenures.get(&vip).filter(same).is_some() {
            return None;
        }
        if holder == Some(&self.me) && self.attempts.contains_key(&vip) {
            return self.taken(now, vip);
        }
        self.tenures.insert(vip, Tenure { holder: holder.cloned(), since: now });
        let to = holder.filter(|holder| **holder != self.me)?.clone();
        let offered_at = self.offers.remove(&vip)?;
        Some(Move::HandedOver { to, took: now.since(offered_at) })
    }

    /// Since when the VIP has had the holder that it has, or none. What was so before this
    /// process looked counts from then on.
    pub fn since(&self, vip: Vip) -> Option<BootTime> {
        self.tenures.get(&vip).map(|tenure| tenure.since)
    }

    /// What nobody wants announced any more is forgotten.
    pub fn retain(&mut self, is_wanted: impl Fn(Vip) -> bool) {
        self.tenures.retain(|vip, _| is_wanted(*vip));
        self.attempts.retain(|vip, _| is_wanted(*vip));
        self.offers.retain(|vip, _| is_wanted(*vip));
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        name.parse().expect("a node name")
    }

    fn vip() -> Vip {
        "192.0.2.10".parse().expect("a VIP")
    }

    fn at(seconds: u64) -> BootTime {
        BootTime::ZERO + Duration::from_secs(seconds)
    }

    fn tenures() -> Tenures {
        Tenures::new(node("me"))
    }

    fn fenced() -> Attempt {
        Attempt { why: Takeover::Fenced, free_since: at(5), from: Some(node("other")) }
    }

    #[test]
    fn a_takeover_is_told_once_whichever_comes_first_the_answer_or_the_watch() {
        let told = Some(Move::Taken(fenced()));
        let me = node("me");
        let mut answered = tenures();
        answered.taking(vip(), fenced());
        assert_eq!(answered.taken(at(6), vip()), told);
        assert_eq!(answered.seen(at(7), vip(), Some(&me)), None);
        assert_eq!(answered.since(vip()), Some(at(6)));
        let mut watched = tenures();
        watched.taking(vip(), fenced());
        assert_eq!(watched.seen(at(6), vip(), Some(&me)), told);
        assert_eq!(watched.taken(at(7), vip()), None);
        assert_eq!(watched.since(vip()), Some(at(6)));
    }

    #[test]
    fn what_was_held_before_is_no_takeover() {
        let mut tenures = tenures();
        assert_eq!(tenures.seen(at(1), vip(), Some(&node("me"))), None);
        assert_eq!(tenures.since(vip()), Some(at(1)));
    }

    #[test]
    fn a_handover_lasts_from_the_offer_to_the_successor() {
        let mut tenures = tenures();
        tenures.seen(at(1), vip(), Some(&node("me")));
        tenures.offering(at(2), vip());
        assert_eq!(tenures.seen(at(3), vip(), None), None, "the offer itself");
        let (to, took) = (node("other"), Duration::from_secs(2));
        let told = tenures.seen(at(4), vip(), Some(&to));
        assert_eq!(told, Some(Move::HandedOver { to, took }));
        assert_eq!(tenures.seen(at(5), vip(), Some(&node("third"))), None, "not ours");
    }

    #[test]
    fn an_offer_that_was_taken_back_is_no_handover() {
        let mut tenures = tenures();
        tenures.offering(at(2), vip());
        tenures.seen(at(3), vip(), None);
        let attempt = Attempt { why: Takeover::Restored, free_since: at(3), from: None };
        tenures.taking(vip(), attempt.clone());
        assert_eq!(tenures.taken(at(8), vip()), Some(Move::TakenBack(attempt)));
        assert_eq!(tenures.seen(at(9), vip(), Some(&node("other"))), None);
    }

    #[test]
    fn what_nobody_wants_is_forgotten() {
        let mut tenures = tenures();
        tenures.seen(at(1), vip(), Some(&node("other")));
        tenures.retain(|_| false);
        assert_eq!(tenures.since(vip()), None);
    }
}
