//! What the machine has to say about one VIP: for people, status and metrics. Pure;
//! nothing is decided here.

use std::time::Duration;

use super::{
    super::{
        heartbeat::OnApiLoss,
        lease::{Claim, Request},
        vip::{Slot, Standing},
    },
    Candidacy, Machine, Settings,
};
use crate::types::{BootTime, NodeName, Vip};

/// What a VIP is to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// This node's: it answers.
    Held,
    /// Another node's.
    Silent {
        /// Whose.
        holder: NodeName,
    },
    /// This node answers until somebody else takes it.
    Offered {
        /// The node that it is meant for or that has just taken it; `None`: whoever comes
        /// first.
        to: Option<NodeName>,
        /// When the offer ends, and with it the answering; `None` while its writing is
        /// under way.
        until: Option<BootTime>,
    },
    /// Nobody's as far as this node can tell, or not for it to take yet.
    Waiting(Wait),
    /// Another announcer was heard to answer it while this node did so on trust.
    Yielded,
}

/// What a VIP that this node does not hold waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// All leases to have been read once.
    FirstSync,
    /// A node that may hold it.
    AnyEligibleNode,
    /// Other nodes: this one is not eligible.
    OtherNodes,
    /// This node's session, or its renewal.
    Session,
    /// The end of what a former holder may still be entitled to.
    SessionOver {
        /// The former holder, if known.
        of: Option<NodeName>,
        /// When that is, if nothing changes until then.
        at: BootTime,
    },
    /// A reading of this node's lease: what is known of it is too old.
    NodeLease(NodeName),
    /// This node's turn; others go first.
    Turn {
        /// When that is.
        at: BootTime,
    },
    /// The API server's answer.
    Answer,
    /// The next attempt, after a failure or a conflict.
    Retry {
        /// When that is.
        at: BootTime,
    },
    /// Other nodes: this one is giving everything up.
    Drain,
}

/// What an API server that is silent means for the VIPs of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutApi {
    /// This node is in no session, and holds none.
    Nothing,
    /// They are answered on, until a rival announces them.
    AnsweredOn,
    /// They are answered for so long.
    AnsweredFor(Duration),
}

/// Why a VIP was free to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Takeover {
    /// No node is known to have held it.
    Unheld,
    /// Its holder gave it up.
    Released,
    /// Its holder offered it, and answered until it was taken.
    Offered,
    /// Its holder's session is over.
    Fenced,
    /// It was this node's before: an offer that nobody took, a lease changed by hand, a
    /// session of its own that is over.
    Restored,
}

impl Takeover {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Unheld, Self::Released, Self::Offered, Self::Fenced, Self::Restored];

    /// For metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unheld => "unheld",
            Self::Released => "released",
            Self::Offered => "offered",
            Self::Fenced => "fenced",
            Self::Restored => "restored",
        }
    }
}

impl Machine {
    /// What a VIP is to this node, and who holds it; `None` if nobody wants it announced.
    pub fn describe(&self, now: BootTime, vip: Vip) -> Option<(State, Option<NodeName>)> {
        let wanted = self.intent.as_ref()?.vips.get(&vip)?;
        let empty = Slot::default();
        let slot = self.slots.get(&vip).unwrap_or(&empty);
        let me = &self.settings.me;
        let wait = |wait| State::Waiting(wait);
        if !self.nodes_listed || !self.vips_listed {
            return Some((wait(Wait::FirstSync), None));
        }
        let standing = self.standing(now, slot);
        let holder = match &standing {
            Standing::Mine | Standing::MineToRestore => Some(me.clone()),
            Standing::Other(node) => Some(node.clone()),
            Standing::Free { offered_by, .. } => offered_by.clone(),
            Standing::Unknown | Standing::FreeAt(_) | Standing::Stale(..) => None,
        };
        let state = match standing {
            Standing::Other(holder) => match slot.overlap_ends.filter(|ends| now < *ends) {
                Some(ends) => State::Offered { to: Some(holder), until: Some(ends) },
                None => State::Silent { holder },
            },
            Standing::Mine | Standing::MineToRestore if slot.yielded => State::Yielded,
            Standing::Mine | Standing::MineToRestore if slot.dropping => wait(Wait::Answer),
            Standing::Mine if slot.offering.is_some() => State::Offered { to: None, until: None },
            Standing::Mine | Standing::MineToRestore => State::Held,
            Standing::Free { offered_by, offered_to }
                if offered_by.as_ref() == Some(me)
                    && slot.offer_ends.is_some_and(|ends| now < ends) =>
            {
                State::Offered { to: offered_to, until: slot.offer_ends }
            }
            _ if self.draining => wait(Wait::Drain),
            _ if slot.pending || slot.must_read && slot.retry_at <= now => wait(Wait::Answer),
            _ if now < slot.retry_at => wait(Wait::Retry { at: slot.retry_at }),
            _ if wanted.eligible.is_empty() => wait(Wait::AnyEligibleNode),
            _ if !wanted.eligible.contains(me) => wait(Wait::OtherNodes),
            Standing::Unknown => wait(Wait::Session),
            Standing::FreeAt(at) => {
                let of = slot.holder.as_ref().map(|(node, ..)| node.clone());
                wait(Wait::SessionOver { of, at })
            }
            Standing::Stale(node, _) => wait(Wait::NodeLease(node)),
            Standing::Free { .. } if !self.heartbeat.valid(now) => wait(Wait::Session),
            Standing::Free { offered_by, offered_to } => {
                let offer = (offered_by.as_ref(), offered_to.as_ref());
                let since = slot.free_since.unwrap_or(now);
                wait(Wait::Turn { at: self.turn(vip, wanted, offer, since) })
            }
        };
        Some((state, holder))
    }

    /// Why this node may take a VIP now, as its request goes out, since when it knows
    /// that, and from whom it takes it if from another node.
    pub fn takeover(&self, vip: Vip) -> Option<(Takeover, BootTime, Option<NodeName>)> {
        let slot = self.slots.get(&vip)?;
        let me = &self.settings.me;
        let held_by = slot.holder.as_ref().map(|(node, ..)| node);
        let (why, from) = match slot.claim() {
            Some(Claim::Released { offered_by: Some(by), .. }) if by == me => {
                (Takeover::Restored, None)
            }
            Some(Claim::Released { offered_by: Some(by), .. }) => (Takeover::Offered, Some(by)),
            Some(Claim::Released { offered_by: None, .. }) => (Takeover::Released, None),
            _ => match held_by {
                Some(node) if node == me => (Takeover::Restored, None),
                Some(node) => (Takeover::Fenced, Some(node)),
                None => (Takeover::Unheld, None),
            },
        };
        Some((why, slot.free_since.or(slot.missing_since)?, from.cloned()))
    }

    /// When what this request was for is tried again, after it failed.
    pub fn next_attempt(&self, now: BootTime, request: &Request) -> BootTime {
        let at = match request {
            Request::ReadNode(node) | Request::WriteNode { node, .. } => {
                let mine = *node == self.settings.me;
                if mine {
                    Some(self.heartbeat.next_attempt())
                } else {
                    self.peers.next_attempt(node)
                }
            }
            Request::ReadVip(vip) | Request::WriteVip { vip, .. } => {
                self.slots.get(vip).map(|slot| slot.retry_at)
            }
        };
        at.unwrap_or(now).max(now)
    }

    /// What becomes of the VIPs held here while the API server does not answer.
    pub fn without_api(&self, now: BootTime) -> WithoutApi {
        match (self.heartbeat.session(), self.settings.on_api_loss) {
            (None, _) => WithoutApi::Nothing,
            (Some(_), OnApiLoss::Hold) if self.heartbeat.is_trusted() => WithoutApi::AnsweredOn,
            (Some(_), _) => WithoutApi::AnsweredFor(self.heartbeat.valid_until().since(now)),
        }
    }

    /// The node that the VIP's lease names now, if it is held by anybody.
    pub fn named_holder(&self, vip: Vip) -> Option<&NodeName> {
        match self.slots.get(&vip)?.claim()? {
            Claim::Held { node, .. } => Some(node),
            Claim::Released { .. } | Claim::Unclear => None,
        }
    }

    /// uid and version of a VIP's lease as last seen.
    pub fn lease_id(&self, vip: Vip) -> Option<(String, u64)> {
        let expect = self.slots.get(&vip)?.expect()?;
        Some((expect.uid, expect.version.0))
    }

    /// The settings that it was made with.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether everything that decisions rest on has been read once, and this node is in
    /// a session or need not be in one.
    pub fn is_synced(&self) -> bool {
        let read = self.nodes_listed && self.vips_listed;
        let candidacy = self.intent.as_ref().map(|intent| intent.candidacy);
        let idle = candidacy.is_some_and(|candidacy| candidacy != Candidacy::Candidate);
        read && candidacy.is_some() && (idle || self.heartbeat.session().is_some())
    }

    /// Whether this node may or may not hold VIPs; `None` until that is known.
    pub fn candidacy(&self) -> Option<Candidacy> {
        self.intent.as_ref().map(|intent| intent.candidacy)
    }

    /// Whether everything is being handed over, for good.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }
}
