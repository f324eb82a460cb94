//! The rules of the world, each with a name, and what must be remembered to judge
//! them. They are about what can be seen from outside: leases and answers.
//!
//! A node answers for a VIP *by right* while it is within the validity of the
//! session in which it holds it. Beside the one that does, another may go on
//! answering in two cases only, each with its bounds:
//!
//! - *leaving*: it has offered the VIP to others, and has yet to hear who took it;
//! - *on trust* (`--on-api-loss=hold`): the API server is silent to it, and it has
//!   yet to hear a rival's announcement.

use std::{fmt, time::Duration};

use announcer::{
    ownership::{
        heartbeat::OnApiLoss,
        lease::{Claim, Request, Version},
    },
    types::{BootTime, NodeName, Vip},
};

use crate::{
    clock::MS, node::HANDOVER_TIMEOUT, record::Offer, requests::Sent, store::What, world::World,
};

/// Between the moment when something must be over and the turn that ends it.
const SLACK: Duration = Duration::from_millis(1);

/// How long an offer is under way at most, stands, and is taken back.
const OFFER: Duration = Duration::from_secs(3 + HANDOVER_TIMEOUT.as_secs() + 1);

/// So many turns within a millisecond are no coincidence.
const TURNS: u32 = 1000;

/// So many requests of one node in a second, and four for each VIP, are a loop.
const REQUESTS: usize = 40;

/// What must hold, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    OneHolder,
    OneAnswers,
    FenceAfterValidity,
    FencedDropsAll,
    TakeWhileValid,
    NoSpinning,
    NoFlood,
    HandoverIsShort,
    TrustYields,
    TrustNeedsContinuity,
    TrustIsShort,
    WithdrawStops,
    PlannedMoveHasNoGap,
    LeavingGetNothing,
    EveryVipIsAnswered,
    FailoverIsTimely,
    FirstClaimsAreProbed,
    NothingMoves,
    RestIsCheap,
    SpreadIsEven,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match self {
            Self::OneHolder => "at most one node holds a VIP within its validity",
            Self::OneAnswers => "one node answers, unless the other is leaving or on trust",
            Self::FenceAfterValidity => "a session is ended by others only when it is not valid",
            Self::FencedDropsAll => "who knows that its session is over answers nothing in it",
            Self::NoFlood => "requests that fail are not sent again and again",
            Self::NoSpinning => "a daemon that has nothing to do sleeps",
            Self::TakeWhileValid => "a node takes a VIP only within its validity",
            Self::HandoverIsShort => {
                "who has offered a VIP stops 200 ms after it knows its successor, at its announcement, or with the offer"
            }
            Self::TrustYields => "who answers on trust stops at the first frame of a rival",
            Self::TrustNeedsContinuity => {
                "a daemon that was stopped answers on trust only after its session was confirmed"
            }
            Self::TrustIsShort => "answers on trust reach two margins ahead at most",
            Self::WithdrawStops => "with `withdraw` nothing is answered beyond the validity",
            Self::PlannedMoveHasNoGap => "in a planned move the VIP is answered throughout",
            Self::LeavingGetNothing => "who gives its VIPs to whoever comes is not offered any",
            Self::EveryVipIsAnswered => "a VIP with a live eligible node is answered",
            Self::FailoverIsTimely => "a VIP whose holder died is answered again in time",
            Self::FirstClaimsAreProbed => {
                "what nobody held before is probed for before it is answered, by whoever holds it"
            }
            Self::NothingMoves => "nothing moves without need",
            Self::RestIsCheap => "at rest there are renewals and nothing else",
            Self::SpreadIsEven => "VIPs are spread evenly",
        };
        write!(f, "{self:?} ({sentence})")
    }
}

/// A rule that did not hold.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    pub(crate) at: u64,
    pub(crate) how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} broken at {} ms: {}", self.rule, self.at / MS, self.how)
    }
}

impl World {
    /// A rule that does not hold ends the run.
    pub(crate) fn break_rule(&mut self, rule: Rule, how: String) {
        let broken = Broken { rule, at: self.t, how };
        self.broken.get_or_insert(broken);
    }

    /// After every turn of a daemon: what it answers and holds, and who else does.
    pub(crate) fn judge_turn(&mut self, i: usize) {
        self.remember_turn(i);
        if self.nodes[i].record.turns > TURNS {
            self.break_rule(Rule::NoSpinning, format!("{} spins", self.nodes[i].name));
        }
        if self.nodes[i].goes_on_though_over() {
            let how = format!("{} goes on", self.nodes[i].name);
            self.break_rule(Rule::FencedDropsAll, how);
        }
        self.judge_trust(i);
        let now = self.now(i);
        let node = &self.nodes[i];
        let answered = node.plane.map.iter().filter(|(_, until)| now < **until);
        let answered: Vec<_> = answered.map(|(vip, _)| *vip).collect();
        for vip in answered {
            self.judge_answers(i, vip);
        }
        let node = &self.nodes[i];
        if node.valid(self.t) {
            let others = |vip: &Vip| {
                let holds = |j: &usize| *j != i && self.nodes[*j].holds_validly(self.t, *vip);
                (0..self.nodes.len()).find(holds).map(|j| (*vip, j))
            };
            if let Some((vip, j)) = node.held.iter().find_map(others) {
                let how = format!("{vip} is held by {} and {}", node.name, self.nodes[j].name);
                self.break_rule(Rule::OneHolder, how);
            }
        }
    }

    /// What a node answers beyond its validity.
    fn judge_trust(&mut self, i: usize) {
        let now = self.now(i);
        let margin = self.flags.timing.margin();
        let node = &self.nodes[i];
        let Some(machine) = &node.machine else { return };
        // Until it knows what is wanted it leaves the maps as it found them.
        if !node.informed {
            return;
        }
        let last = |until: BootTime| until - Duration::from_nanos(1);
        let beyond = node.plane.map.iter().find(|(vip, until)| {
            // What a predecessor left may stay until its time is over.
            let inherited = **until <= node.record.inherited && !node.record.heard.contains(*vip);
            now < **until && !machine.heartbeat().valid(last(**until)) && !inherited
        });
        let Some((vip, until)) = beyond else { return };
        let how = format!("{} answers for {vip} for another {:?}", node.name, until.since(now));
        if node.record.heard.contains(vip) {
            self.break_rule(Rule::TrustYields, how);
        } else if self.flags.on_loss == OnApiLoss::Withdraw {
            self.break_rule(Rule::WithdrawStops, how);
        } else if node.record.gap.is_some() {
            self.break_rule(Rule::TrustNeedsContinuity, how);
        } else if until.since(now) > margin * 2 {
            self.break_rule(Rule::TrustIsShort, how);
        }
    }

    /// Who else answers for a VIP for which this node does.
    fn judge_answers(&mut self, i: usize, vip: Vip) {
        for j in (0..self.nodes.len()).filter(|j| *j != i) {
            if !self.nodes[j].answers(self.t, vip) {
                continue;
            }
            let (one, other) = (self.excused(i, vip), self.excused(j, vip));
            if !one && !other {
                let names = (&self.nodes[i].name, &self.nodes[j].name);
                let how = format!("{vip} is answered by {} and {}", names.0, names.1);
                self.break_rule(Rule::OneAnswers, how);
            }
        }
    }

    /// Whether a node may answer beside the one that does so by right.
    fn excused(&mut self, i: usize, vip: Vip) -> bool {
        let now = self.now(i);
        let node = &self.nodes[i];
        let stands = |offer: &&Offer| !node.decides() || now <= offer.at + OFFER;
        if node.record.offered.get(&vip).filter(stands).is_some() {
            let slack = SLACK + Duration::from_nanos(self.batch);
            let late = node.record.told.get(&vip).is_some_and(|until| now > *until + slack);
            // Who is stopped or dead stops with the time in its maps.
            if late && node.decides() {
                let how = format!("{} still answers for {vip}", node.name);
                self.break_rule(Rule::HandoverIsShort, how);
            }
            return true;
        }
        self.flags.on_loss == OnApiLoss::Hold && !node.valid(self.t)
    }

    /// Whenever a daemon decides to send something.
    pub(crate) fn judge_request(&mut self, i: usize, request: &Request) {
        self.remember_request(i);
        let node = &self.nodes[i];
        if node.record.requests > REQUESTS + self.vips.len() * 4 {
            let how = format!("{} sends {request:?}", node.name);
            self.break_rule(Rule::NoFlood, how);
        }
        let Request::WriteVip { vip, expect, claim } = request else { return };
        let now = self.now(i);
        if let Claim::Released { offered_to: Some(heir), .. } = claim {
            let distrust = self.flags.timing.lease_duration() * 3;
            let trust_again = self.nodes[i].record.left_by.get(heir).map(|at| *at + distrust);
            if trust_again.is_some_and(|at| now < at) {
                let how = format!("{} offers {vip} to {heir}, which leaves", self.nodes[i].name);
                self.break_rule(Rule::LeavingGetNothing, how);
            }
        }
        let named = self.store.holder(*vip) == Some(&self.nodes[i].name);
        let node = &mut self.nodes[i];
        match claim {
            // Its own may be written anew, whenever somebody has edited the lease.
            Claim::Held { .. }
                if !node.valid(self.t) && !named && !node.plane.map.contains_key(vip) =>
            {
                let how = format!("{} sends {request:?}", node.name);
                self.break_rule(Rule::TakeWhileValid, how);
            }
            Claim::Released { offered_by: Some(_), .. } => {
                let version = expect.as_ref().map_or(Version(0), |expect| expect.version);
                node.record.offered.insert(*vip, Offer { version, at: now });
                node.record.told.remove(vip);
            }
            _ => {}
        }
    }

    /// Whenever a write of a node's has been applied.
    pub(crate) fn judge_write(&mut self, sent: &Sent) {
        let by = sent.node;
        let named = |name: &NodeName| self.nodes.iter().position(|node| node.name == *name);
        match &sent.request {
            Request::WriteNode { node, .. } => {
                let Some(of) = named(node).filter(|of| *of != by) else { return };
                // A closed lease in the place of one that was deleted is no fence.
                let Some(What::Node { before: Some(before), .. }) =
                    self.store.last_change().map(|change| &change.what)
                else {
                    return;
                };
                if self.nodes[of].valid_in(self.t, Some(&before.session)) {
                    let how = format!("{} ended the session of {node}", self.nodes[by].name);
                    self.break_rule(Rule::FenceAfterValidity, how);
                }
            }
            Request::WriteVip { vip, claim: Claim::Held { .. }, .. } => {
                let holds = |of: &usize| *of != by && self.nodes[*of].holds_validly(self.t, *vip);
                if let Some(of) = (0..self.nodes.len()).find(holds) {
                    let (by, of) = (&self.nodes[by].name, &self.nodes[of].name);
                    let how = format!("{by} took {vip} from {of}");
                    self.break_rule(Rule::OneHolder, how);
                }
            }
            _ => {}
        }
    }

    /// Every VIP with a Service is answered, by a node that may if one lives.
    pub(crate) fn judge_settled(&self) -> Result<(), Broken> {
        for &vip in &self.vips {
            let all = 0..self.nodes.len();
            let answering: Vec<_> =
                all.clone().filter(|i| self.nodes[*i].answers(self.t, vip)).collect();
            let staying = |i: &&usize| !self.nodes[**i].record.offered.contains_key(&vip);
            let able = |i: &usize| self.nodes[*i].running() && self.cluster.eligible(*i, vip);
            let wanted = self.cluster.services.contains_key(&vip);
            let somebody_can = all.clone().any(|i| able(&i));
            let right = match (wanted, somebody_can) {
                (true, true) => {
                    answering.iter().any(able) && answering.iter().filter(staying).count() <= 1
                }
                (true, false) => answering.len() <= 1,
                (false, _) => answering.is_empty(),
            };
            if !right {
                let names: Vec<_> = answering.iter().map(|i| &self.nodes[*i].name).collect();
                let able: Vec<_> = all.filter(able).map(|i| &self.nodes[i].name).collect();
                let how = format!(
                    "{vip} ({}) is answered by {names:?}, could be by {able:?}",
                    if wanted { "wanted" } else { "not wanted" }
                );
                return Err(Broken { rule: Rule::EveryVipIsAnswered, at: self.t, how });
            }
        }
        Ok(())
    }
}
