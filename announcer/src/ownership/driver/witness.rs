//! Where the driver leaves word of what it does: numbers, Events, that it turns.

use std::time::Duration;

use super::Driver;
use crate::{
    events::{Announced, News, Occurrence},
    observe::{
        health::Health,
        metrics::{Metrics, RequestResult},
    },
    ownership::{
        lease::{Answer, Claim, Reply, Request},
        tenures::{Attempt, Move},
    },
    types::Vip,
};

/// Where the driver leaves word of what it does.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// What is counted.
    pub metrics: Metrics,
    /// That it turns, and has read everything once.
    pub health: Health,
}

/// The verb, as in Kubernetes' rules of access.
pub(super) const fn verb(request: &Request) -> &'static str {
    match request {
        Request::ReadNode(_) | Request::ReadVip(_) => "get",
        Request::WriteNode { expect: None, .. } | Request::WriteVip { expect: None, .. } => {
            "create"
        }
        Request::WriteNode { .. } | Request::WriteVip { .. } => "update",
    }
}

impl Driver {
    /// Why a VIP is taken is known while its request goes out.
    pub(super) fn note_attempt(&mut self, request: &Request) {
        if let Request::WriteVip { vip, claim: Claim::Held { .. }, .. } = request
            && let Some((why, free_since, from)) = self.machine.takeover(*vip)
        {
            self.tenures.taking(*vip, Attempt { why, free_since, from });
        }
    }

    /// What a lease says has been taken in.
    pub(super) fn moved(&mut self, vip: Vip, moved: Option<Move>) {
        self.channels.reports.stir();
        match moved {
            Some(Move::Taken(attempt)) => self.took(vip, attempt),
            Some(Move::TakenBack(attempt)) => {
                self.witness.metrics.taken_back();
                self.took(vip, attempt);
            }
            Some(Move::HandedOver { took, .. }) => self.witness.metrics.handed_over(vip, took),
            None => {}
        }
    }

    fn took(&self, vip: Vip, attempt: Attempt) {
        self.witness.metrics.taken(vip, attempt.why, attempt.free_since);
        self.tell_taken(vip, attempt);
    }

    fn tell_taken(&self, vip: Vip, Attempt { why, from, .. }: Attempt) {
        let intent = self.channels.intent.borrow();
        let wanted = intent.as_ref().and_then(|intent| intent.vips.get(&vip));
        if let (Some(wanted), Some(lease)) = (wanted, self.machine.lease_id(vip)) {
            let (services, interfaces) = (wanted.services.clone(), wanted.interfaces.clone());
            let news = News::Announced(Announced { vip, why, from, interfaces, lease });
            self.channels.reports.send(Occurrence { services, news });
        }
    }

    pub(super) fn count(&self, request: &Request, answer: &Answer, took: Duration) {
        let metrics = &self.witness.metrics;
        let result = match answer {
            Answer::Node(Reply::Ok(_)) | Answer::Vip(Reply::Ok(_)) => RequestResult::Ok,
            Answer::Node(Reply::NotFound) | Answer::Vip(Reply::NotFound) => RequestResult::NotFound,
            Answer::Node(Reply::Conflict) | Answer::Vip(Reply::Conflict) => RequestResult::Conflict,
            Answer::Node(Reply::Failed) | Answer::Vip(Reply::Failed) => RequestResult::Failed,
        };
        metrics.requested(verb(request), "leases", result);
        if let Request::WriteNode { node, open: true, .. } = request
            && *node == self.machine.settings().me
        {
            metrics.renewed(took, result == RequestResult::Ok);
        }
    }
}
