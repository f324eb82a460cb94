//! What must be remembered of a node to judge it by the rules.

use std::collections::{BTreeMap, BTreeSet};

use announcer::{
    ownership::{
        lease::{Answer, Claim, Reply, Request, Seen, Version},
        machine::Input,
        vip::HANDOVER_OVERLAP,
    },
    types::{BootTime, NodeName, Session, Vip},
    wire_state::Adopted,
};

use crate::{
    clock::{MS, SECOND},
    world::World,
};

/// What is remembered of one node; times are by its own clock.
#[derive(Default)]
pub(crate) struct Record {
    /// VIPs that it has offered in its session.
    pub(crate) offered: BTreeMap<Vip, Offer>,
    /// Nodes that gave a VIP to whoever comes first, and when it saw that last.
    pub(crate) left_by: BTreeMap<NodeName, BootTime>,
    /// The newest version of each VIP lease that it has seen.
    seen: BTreeMap<Vip, Version>,
    session: Option<Session>,
    /// Until when it may answer for one of them, having heard of its successor.
    pub(crate) told: BTreeMap<Vip, BootTime>,
    /// VIPs that a rival announced to it since it was valid.
    pub(crate) heard: BTreeSet<Vip>,
    /// The end of a gap in its loop that no renewal sent later has confirmed yet.
    pub(crate) gap: Option<BootTime>,
    /// When it would have acted next, had it not been stopped; gone with its first
    /// turn after that.
    pub(crate) promised: Option<BootTime>,
    /// The session that it knows to be over.
    pub(crate) over: Option<Session>,
    /// The millisecond of its last turn, and how many it had in it.
    millisecond: u64,
    pub(crate) turns: u32,
    /// The second of its last request, and how many it sent in it.
    second: u64,
    pub(crate) requests: usize,
    /// How far its predecessor let the data plane answer.
    pub(crate) inherited: BootTime,
}

/// What is remembered of an offer.
#[derive(Clone, Copy)]
pub(crate) struct Offer {
    /// The version of the lease that it was to replace.
    pub(crate) version: Version,
    /// When it was sent last.
    pub(crate) at: BootTime,
}

impl Record {
    pub(crate) fn booted(&mut self, now: BootTime, adopted: Option<&Adopted>) {
        let inherited = adopted.and_then(|a| a.answering.values().max().copied());
        *self = Self {
            // Its predecessor's offers may stand, but it knows nothing of them.
            offered: std::mem::take(&mut self.offered),
            session: self.session.take(),
            gap: Some(now),
            inherited: inherited.unwrap_or(BootTime::ZERO),
            ..Self::default()
        };
    }

    /// A lease says who has taken a VIP that was offered.
    fn taken(&mut self, now: BootTime, vip: Vip, version: Version, by_itself: bool) {
        if self.offered.get(&vip).is_none_or(|offer| version <= offer.version) {
            return;
        }
        if by_itself {
            self.offered.remove(&vip);
            self.told.remove(&vip);
        } else {
            self.told.entry(vip).or_insert(now + HANDOVER_OVERLAP);
        }
    }
}

impl World {
    pub(crate) fn remember_pause(&mut self, i: usize) {
        let now = self.now(i);
        let node = &mut self.nodes[i];
        node.record.promised = node.machine.as_ref().map(|m| m.heartbeat().next_deadline(now));
    }

    pub(crate) fn remember_turn(&mut self, i: usize) {
        let now = self.now(i);
        let margin = self.flags.timing.margin();
        let millisecond = self.t / MS;
        let node = &mut self.nodes[i];
        if node.record.millisecond != millisecond {
            (node.record.millisecond, node.record.turns) = (millisecond, 0);
        }
        node.record.turns += 1;
        let valid = node.machine.as_ref().is_some_and(|m| m.heartbeat().valid(now));
        let session = node.machine.as_ref().and_then(|m| m.heartbeat().session());
        let (record, held) = (&mut node.record, &node.held);
        if record.promised.take().is_some_and(|promised| now > promised + margin) {
            record.gap = Some(now);
        }
        if valid {
            record.heard.clear();
        }
        if let Some(session) = session
            && record.session.as_ref() != Some(session)
        {
            record.session = Some(session.clone());
            record.offered.clear();
        }
        // Over when it holds the VIP again, or has made way for its successor.
        let over = |vip: &Vip| {
            let told = record.told.get(vip).is_some_and(|until| now > *until);
            told && !node.plane.answers(now, *vip)
        };
        record.offered.retain(|vip, _| !held.contains(vip) && !over(vip));
        record.told.retain(|vip, _| record.offered.contains_key(vip));
    }

    pub(crate) fn remember_request(&mut self, i: usize) {
        let second = self.t / SECOND;
        let record = &mut self.nodes[i].record;
        if record.second != second {
            (record.second, record.requests) = (second, 0);
        }
        record.requests += 1;
    }

    /// Before a daemon takes in a claim.
    pub(crate) fn remember_claim(&mut self, i: usize, vip: Vip, announcer: bool) {
        let now = self.now(i);
        let valid = self.nodes[i].valid(self.t);
        let record = &mut self.nodes[i].record;
        if announcer && record.offered.contains_key(&vip) {
            record.told.insert(vip, now);
        }
        if !valid {
            record.heard.insert(vip);
        }
    }

    /// Before a daemon takes in an answer to what it sent at `sent` (true time).
    pub(crate) fn remember_answer(
        &mut self,
        i: usize,
        request: &Request,
        answer: &Answer,
        sent: u64,
    ) {
        let node = &mut self.nodes[i];
        let sent = node.clock.at(sent);
        if let (Request::WriteNode { node: of, open: true, .. }, Answer::Node(Reply::Ok(_))) =
            (request, answer)
            && *of == node.name
            && node.record.gap.is_some_and(|gap| sent >= gap)
        {
            node.record.gap = None;
        }
    }

    /// Before a daemon takes in anything.
    pub(crate) fn remember_input(&mut self, i: usize, input: &Input) {
        let now = self.now(i);
        match input {
            Input::NodeLease(name, Seen::Present(lease))
            | Input::Answered(Request::ReadNode(name), Answer::Node(Reply::Ok(lease)))
                if *name == self.nodes[i].name =>
            {
                let session = self.nodes[i].machine.as_ref().and_then(|m| m.heartbeat().session());
                let ended = |session: &&Session| {
                    lease.session.follows(session) || (lease.session == **session && !lease.open)
                };
                let over = session.filter(ended).cloned();
                self.nodes[i].record.over = over.or(self.nodes[i].record.over.take());
            }
            Input::NodeLease(name, Seen::Present(_)) | Input::NodeOpened(name, _) => {
                if let Some(other) = self.nodes.iter().position(|node| node.name == *name) {
                    self.nodes[i].met.insert(other);
                }
            }
            Input::VipLease(vip, Seen::Present(lease))
            | Input::Answered(
                Request::ReadVip(vip) | Request::WriteVip { vip, .. },
                Answer::Vip(Reply::Ok(lease)),
            ) => {
                let node = &mut self.nodes[i];
                let newest = node.record.seen.entry(*vip).or_insert(Version(0));
                let is_news = *newest < lease.version;
                *newest = lease.version.max(*newest);
                match &lease.claim {
                    Claim::Held { node: holder, .. } => {
                        let me = *holder == node.name;
                        node.record.taken(now, *vip, lease.version, me);
                    }
                    Claim::Released { offered_by: Some(by), offered_to: None } if is_news => {
                        node.record.left_by.insert(by.clone(), now);
                    }
                    Claim::Released { .. } | Claim::Unclear => {}
                }
            }
            _ => {}
        }
    }
}
