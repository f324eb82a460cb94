//! What one node should do on the wire: the whole desired state, handed from
//! ownership (or the static list) to the responder over a `watch` channel.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use crate::{
    intent::desired::InterfaceScope,
    types::{BootTime, MacAddr, Session, Vip},
};

/// What the data plane does with an ARP request for one VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireEntry {
    /// Held here: answered while CLOCK_BOOTTIME is before `until`, dropped after.
    Answer {
        /// The instant from which the data plane stops by itself.
        until: BootTime,
    },
    /// Held elsewhere or by nobody: dropped, so that the kernel does not answer either.
    Silent,
    /// Held here, and not claimed yet: dropped, and probed for (RFC 5227 section 2.1.1).
    Probe {
        /// When each probe is due.
        at: ProbeTimes,
    },
}

/// Probes before a first claim: PROBE_NUM of RFC 5227 section 1.1.
pub const PROBES: u32 = 3;

/// When the probes for one VIP are due, in order.
pub type ProbeTimes = [BootTime; PROBES as usize];

/// The whole desired state of the wire on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireState {
    /// Every VIP that this node knows; anything else is the kernel's business.
    pub vips: BTreeMap<Vip, WireEntry>,
    /// Where to answer, for VIPs that are not to be answered on every interface. On
    /// the others they are silent.
    pub scopes: BTreeMap<Vip, InterfaceScope>,
    /// VIPs to be defended against another station by one announcement, each as often as
    /// this instant changes (RFC 5227 section 2.4).
    pub defences: BTreeMap<Vip, BootTime>,
    /// VIPs that were another node's meanwhile and are this one's again: announced from the
    /// beginning as often as the number changes, also if they were answered all the time.
    pub regained: BTreeMap<Vip, u64>,
    /// The session under which the answered VIPs are held; remembered beside the
    /// pinned maps, so that a restarted daemon can go on in it.
    pub session: Option<Session>,
}

impl WireState {
    /// What it means for the interface of this name.
    pub fn on(&self, interface: &str) -> Cow<'_, Self> {
        let silent: Vec<Vip> = self
            .scopes
            .iter()
            .filter(|(_, scope)| !scope.includes(interface))
            .map(|(vip, _)| *vip)
            .collect();
        if silent.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut here = self.clone();
        for vip in silent {
            here.vips.entry(vip).and_modify(|entry| *entry = WireEntry::Silent);
        }
        Cow::Owned(here)
    }
}

/// What the pinned maps of a daemon that was killed still say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The session in which the former daemon answered; `None` for static VIPs.
    pub session: Option<Session>,
    /// The VIPs that it answered for, each until when.
    pub answering: BTreeMap<Vip, BootTime>,
}

/// A frame by another station that claims a VIP which this node knows
/// (RFC 5227 section 1.1: an ARP whose sender address is the VIP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignClaim {
    /// The VIP that is claimed.
    pub vip: Vip,
    /// The ARP sender hardware address.
    pub mac: MacAddr,
    /// Whether it tells everybody (RFC 5227 section 2.3: the target address is the VIP,
    /// too). Else it answers somebody's question, or asks one with the VIP as its own.
    pub announces: bool,
    /// Whether it came as an announcement/request or as a reply.
    pub kind: ClaimKind,
    /// When the data plane saw it.
    pub at: BootTime,
}

/// The ARP operation that carried a foreign claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// Operation 1 with the VIP as sender.
    Request,
    /// Operation 2 with the VIP as sender.
    Reply,
    /// Operation 1 for the VIP with nobody as sender: an ARP Probe by a station that is
    /// about to use it. Reported while the VIP is not answered here.
    Probe,
}

/// A foreign claim, and where it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The claim.
    pub claim: ForeignClaim,
    /// The name of the interface.
    pub interface: Arc<str>,
}
