//! What the loop that owns the VIPs says of itself when it is asked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::machine::{Candidacy, State, Wait};
use crate::{
    conflict::{Hindrance, LastClaim},
    intent::desired::ServiceRef,
    types::{BootTime, NodeName, Session, Vip},
    wire_state::WireEntry,
};

/// Everything that is known of this node's part in ownership, at one instant.
#[derive(Clone, Debug)]
pub struct Report {
    /// When.
    pub at: BootTime,
    /// This node; `None` with static VIPs.
    pub cluster: Option<Membership>,
    /// Every VIP that is to be announced by some node.
    pub vips: BTreeMap<Vip, VipReport>,
    /// How many VIPs of this node a stranger claims, too.
    pub conflicts: usize,
}

/// A node among others.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Which.
    pub node: NodeName,
    /// The session in force, and since when.
    pub session: Option<(Session, BootTime)>,
    /// How long others wait before they call it dead.
    pub lease_duration: Duration,
    /// Until when its last renewal entitles it to answer.
    pub valid_until: BootTime,
    /// Whether it answers although no renewal entitles it to: the API server is silent.
    pub on_trust: bool,
    /// Whether it may hold VIPs; `None` until that is known.
    pub candidacy: Option<Candidacy>,
    /// Whether it is handing everything over, for good.
    pub draining: bool,
    /// Whether everything has been read once, and the session open if there is to be one.
    pub synced: bool,
    /// Since when requests to the API server fail, and how the last one did.
    pub api_failing: Option<(BootTime, String)>,
}

/// One VIP, as this node sees it.
#[derive(Clone, Debug)]
pub struct VipReport {
    /// What it is to this node.
    pub state: VipState,
    /// Who holds it, or answers while it is offered.
    pub holder: Option<NodeName>,
    /// Since when; at least, where that was so before this process looked.
    pub since: Option<BootTime>,
    /// The Services that it is for; none with static VIPs.
    pub services: Arc<[ServiceRef]>,
    /// When a stranger claimed it last, while this node held it.
    pub conflict: Option<LastClaim>,
}

/// What ownership, strangers and the clock make of a VIP together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VipState {
    /// This node answers.
    Held,
    /// Another node's.
    Silent,
    /// This node answers until somebody else takes it.
    Offered {
        /// See [`State::Offered`].
        to: Option<NodeName>,
        /// See [`State::Offered`].
        until: Option<BootTime>,
    },
    /// Nobody's, or not for this node to take yet.
    Waiting(Wait),
    /// This node's, and probed for before it is answered.
    Probing {
        /// When it will be answered.
        until: BootTime,
    },
    /// This node's, and left to another station for a while.
    Yielded {
        /// When it will be probed again; `None`: when the API server answers.
        until: Option<BootTime>,
    },
    /// This node's by the lease, but nothing entitles it to answer now.
    Expired,
}

impl VipState {
    /// All of them, for metrics.
    pub const NAMES: [&'static str; 7] =
        ["held", "silent", "offered", "waiting", "probing", "yielded", "expired"];

    /// For status and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Silent => "silent",
            Self::Offered { .. } => "offered",
            Self::Waiting(_) => "waiting",
            Self::Probing { .. } => "probing",
            Self::Yielded { .. } => "yielded",
            Self::Expired => "expired",
        }
    }

    /// What ownership says, and what follows on the wire.
    pub fn new(
        now: BootTime,
        state: State,
        hindrance: Option<Hindrance>,
        entry: Option<WireEntry>,
    ) -> Self {
        match (state, hindrance) {
            (State::Held, Some(Hindrance::Probing { until })) => Self::Probing { until },
            (State::Held, Some(Hindrance::BackingOff { until })) => {
                Self::Yielded { until: Some(until) }
            }
            (State::Held, None) => match entry {
                Some(WireEntry::Answer { until }) if now < until => Self::Held,
                _ => Self::Expired,
            },
            (State::Silent { .. }, _) => Self::Silent,
            (State::Offered { to, until }, _) => Self::Offered { to, until },
            (State::Waiting(wait), _) => Self::Waiting(wait),
            (State::Yielded, _) => Self::Yielded { until: None },
        }
    }

    /// For people: what comes next, and when. Nothing where the name says it all.
    pub fn what_next(&self) -> (Option<String>, Option<BootTime>) {
        let text = |text: &str| Some(text.to_owned());
        match self {
            Self::Held | Self::Silent => (None, None),
            Self::Offered { to, until } => {
                let to = to.as_ref().map_or("whoever comes first".to_owned(), ToString::to_string);
                (Some(format!("answered until {to} has it")), *until)
            }
            Self::Probing { until } => {
                (text("nobody held it before: asking whether somebody uses it"), Some(*until))
            }
            Self::Yielded { until: Some(until) } => {
                (text("left to another station, and probed again"), Some(*until))
            }
            Self::Yielded { until: None } => {
                (text("another announcer answers; the API server has to say whose it is"), None)
            }
            Self::Expired => (
                text("held, but nothing entitles this node to answer until a renewal succeeds"),
                None,
            ),
            Self::Waiting(wait) => waits_for(wait),
        }
    }
}

fn waits_for(wait: &Wait) -> (Option<String>, Option<BootTime>) {
    let text = |text: &str| Some(text.to_owned());
    match wait {
        Wait::FirstSync => (text("for Services, Nodes and Leases to be read"), None),
        Wait::AnyEligibleNode => (text("for a node that may hold it: none is eligible"), None),
        Wait::OtherNodes => (text("for another node: this one is not eligible"), None),
        Wait::Session => (text("for this node's session or its renewal"), None),
        Wait::SessionOver { of: Some(node), at } => {
            (Some(format!("for the end of what {node} may still answer")), Some(*at))
        }
        Wait::SessionOver { of: None, at } => {
            (text("for whoever may have held it unseen"), Some(*at))
        }
        Wait::NodeLease(node) => (Some(format!("for a reading of {node}'s lease")), None),
        Wait::Turn { at } => (text("for its turn: others go first"), Some(*at)),
        Wait::Answer => (text("for the API server's answer"), None),
        Wait::Retry { at } => (text("for the next attempt"), Some(*at)),
        Wait::Drain => (text("for another node: this one hands over"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime::from_nanos(1_000);
    const LATER: BootTime = BootTime::from_nanos(2_000);

    #[test]
    fn what_is_held_may_be_kept_from_the_wire() {
        let answer = |until| Some(WireEntry::Answer { until });
        let probing = Hindrance::Probing { until: LATER };
        let backing_off = Hindrance::BackingOff { until: LATER };
        for (hindrance, entry, expected) in [
            (None, answer(LATER), VipState::Held),
            (None, answer(NOW), VipState::Expired),
            (None, Some(WireEntry::Silent), VipState::Expired),
            (Some(probing), Some(WireEntry::Silent), VipState::Probing { until: LATER }),
            (Some(backing_off), None, VipState::Yielded { until: Some(LATER) }),
        ] {
            assert_eq!(VipState::new(NOW, State::Held, hindrance, entry), expected);
        }
        let elsewhere = State::Waiting(Wait::Answer);
        let state = VipState::new(NOW, elsewhere, Some(probing), None);
        assert_eq!(state, VipState::Waiting(Wait::Answer), "what is not held is not probed for");
    }

    #[test]
    fn every_state_has_a_name_of_the_list() {
        let states = [
            VipState::Held,
            VipState::Silent,
            VipState::Offered { to: None, until: None },
            VipState::Waiting(Wait::Drain),
            VipState::Probing { until: NOW },
            VipState::Yielded { until: None },
            VipState::Expired,
        ];
        assert_eq!(states.map(|state| state.name()), VipState::NAMES);
    }
}
