//! What people are told about conflicts.

use std::fmt;

use tracing::{info, warn};

use super::{Stranger, Vendor};
use crate::types::{BootTime, Vip};

/// Something to tell about one VIP. Displayed: a sentence for an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which.
    pub vip: Vip,
    /// The other station, heard last.
    pub stranger: Stranger,
    /// What happened.
    pub what: What,
    /// What is done about it.
    pub response: Response,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The first claim after none.
    Began,
    /// More claims.
    GoesOn,
    /// No more claims.
    Over(Over),
}

/// How a conflict came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nobody has claimed the VIP for a minute.
    Quiet,
    /// Nobody minded when it was probed for: it is answered again.
    Unanswered,
    /// The VIP is this node's no more.
    GivenUp,
}

/// What is done about a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Answered on, and announced now.
    Defended,
    /// Answered on, and announced less than 10 s ago.
    Answering,
    /// Not answered any more, until it is probed again.
    Yielded {
        /// When that is.
        until: BootTime,
    },
    /// Not answered yet, until it is probed again.
    NotClaimed {
        /// When that is.
        until: BootTime,
    },
    /// Nothing.
    Reported,
}

impl Notice {
    /// Writes it to the log: a warning while the conflict lasts.
    pub fn log(&self) {
        let Self { vip, stranger, what, response } = self;
        let Stranger { mac, interface, probes } = stranger;
        let vendor = Vendor(*mac);
        match what {
            What::Began | What::GoesOn => {
                let probe = probes.then_some(true);
                warn!(%vip, %interface, %mac, %vendor, probe,
                    "address conflict: a station that is no announcer claims the VIP: {response}");
            }
            What::Over(over) => {
                info!(%vip, %interface, %mac, %vendor, "address conflict over: {over}");
            }
        }
    }

    /// Whether it is the beginning of a conflict or its end.
    pub const fn is_edge(&self) -> bool {
        matches!(self.what, What::Began | What::Over(_))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vip, stranger, what, response } = self;
        let Stranger { mac, interface, probes } = stranger;
        let vendor = Vendor(*mac);
        match what {
            What::Began | What::GoesOn => {
                let does = if *probes { "is about to use" } else { "claims" };
                write!(f, "{mac} ({vendor}), no announcer, {does} {vip} on {interface}: {response}")
            }
            What::Over(over) => {
                write!(f, "{mac} ({vendor}) claims {vip} on {interface} no more: {over}")
            }
        }
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Defended => "defended by an announcement",
            Self::Answering => "answered on, and announced less than 10 s ago",
            Self::Yielded { .. } => "no longer answered until it is free; probed again later",
            Self::NotClaimed { .. } => "not answered until it is free; probed again later",
            Self::Reported => "answered all the same (--on-conflict=report)",
        })
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiet => "it was not heard for a minute",
            Self::Unanswered => "it does not answer probes, so this node does again",
            Self::GivenUp => "this node does not hold it any more",
        })
    }
}
