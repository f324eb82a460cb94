//! What is told, in words.

use std::hash::Hasher;

use k8s_openapi::api::core::v1::ObjectReference;
use siphasher::sip::SipHasher13;

use crate::{
    conflict::{Notice, What},
    intent::{
        desired::{InterfaceScope, ServiceRef},
        eligibility::LinkState,
        index::Links,
    },
    ownership::machine::Takeover,
    types::{BootTime, NodeName, Vip},
};

/// Something that people are told by an Event.
#[derive(Clone, Debug)]
pub enum News {
    /// An edge of a conflict with a station that is no announcer.
    Conflict(Notice),
    /// This node announces the VIP from now on.
    Announced(Announced),
    /// No node may hold the VIP.
    NoEligibleNode {
        /// Which.
        vip: Vip,
        /// What speaks against each.
        why: String,
    },
}

/// A VIP that this node has taken.
#[derive(Clone, Debug)]
pub struct Announced {
    /// Which.
    pub vip: Vip,
    /// Why it was free.
    pub why: Takeover,
    /// Whose it was before, if another node's.
    pub from: Option<NodeName>,
    /// Where it is announced.
    pub interfaces: InterfaceScope,
    /// `metadata.uid` and `resourceVersion` of the lease that says so: no other takeover has
    /// the same.
    pub lease: (String, u64),
}

impl News {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Conflict(Notice { what: What::Over(_), .. }) | Self::Announced(_) => "Normal",
            Self::Conflict(_) | Self::NoEligibleNode { .. } => "Warning",
        }
    }

    /// A conflict's beginning and end differ in their kind.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "AddressConflict",
            Self::Announced(_) => "Announced",
            Self::NoEligibleNode { .. } => "NoEligibleNode",
        }
    }

    pub(super) const fn action(&self) -> &'static str {
        match self {
            Self::Conflict(Notice { what: What::Over(_), .. }) => "Ended",
            Self::Conflict(_) => "Detected",
            Self::Announced(_) => "TakenOver",
            Self::NoEligibleNode { .. } => "Waiting",
        }
    }

    pub(super) fn note(&self, node: &NodeName, links: &Links) -> String {
        match self {
            Self::Conflict(notice) => format!("{notice} (node {node})"),
            Self::Announced(announced) => announced.note(node, links),
            Self::NoEligibleNode { vip, why } => {
                format!("{vip} is announced by no node: none is eligible. {why}")
            }
        }
    }

    /// The same for whoever says the same of the same Service.
    pub(super) fn identity(&self, service: &ServiceRef) -> u64 {
        let mut hash = SipHasher13::new();
        let mut add = |part: &[u8]| {
            hash.write(part);
            hash.write_u8(0xff);
        };
        add(service.uid.as_bytes());
        add(self.reason().as_bytes());
        match self {
            // Each is one that only this node heard.
            Self::Conflict(notice) => {
                add(notice.to_string().as_bytes());
                add(&BootTime::now().as_nanos().to_be_bytes());
            }
            Self::Announced(Announced { vip, lease: (uid, version), .. }) => {
                add(&vip.octets());
                add(uid.as_bytes());
                add(&version.to_be_bytes());
            }
            Self::NoEligibleNode { vip, why } => {
                add(&vip.octets());
                add(why.as_bytes());
            }
        }
        hash.finish()
    }
}

impl Announced {
    fn note(&self, node: &NodeName, links: &Links) -> String {
        let Self { vip, why, from, interfaces, lease: _ } = self;
        let fit = links.iter().filter(|(_, state)| **state == LinkState::Fit);
        let meant = fit.map(|(name, _)| &**name).filter(|name| interfaces.includes(name));
        let on: Vec<&str> = meant.collect();
        let on = if on.is_empty() { interfaces.to_string() } else { on.join(", ") };
        let why = match (why, from) {
            (Takeover::Offered, Some(from)) => format!("{from} handed it over"),
            (Takeover::Fenced, Some(from)) => format!("{from}'s session is over"),
            (Takeover::Released, _) => "its holder had given it up".to_owned(),
            (Takeover::Restored, _) => "it was this node's before".to_owned(),
            (Takeover::Unheld | Takeover::Offered | Takeover::Fenced, _) => {
                "nobody held it".to_owned()
            }
        };
        format!("{vip} is announced from node {node} on {on}: {why}")
    }
}

pub(super) fn reference(service: &ServiceRef) -> ObjectReference {
    let text = |text: &str| Some(text.to_owned());
    ObjectReference {
        api_version: text("v1"),
        kind: text("Service"),
        namespace: text(&service.namespace),
        name: text(&service.name),
        uid: text(&service.uid),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn announced(version: u64) -> News {
        News::Announced(Announced {
            vip: "192.0.2.10".parse().expect("a VIP"),
            why: Takeover::Fenced,
            from: Some("node-1".parse().expect("a node name")),
            interfaces: InterfaceScope::All,
            lease: ("lease-uid".to_owned(), version),
        })
    }

    fn service(uid: &str) -> ServiceRef {
        ServiceRef { namespace: "default".into(), name: "web".into(), uid: uid.into() }
    }

    #[test]
    fn a_move_is_told_with_where_and_why() {
        let links = Links::from([
            ("ens18".to_owned(), LinkState::Fit),
            ("ens19".to_owned(), LinkState::NoCarrier),
        ]);
        let note = announced(1).note(&"node-2".parse().expect("a node name"), &links);
        let said = "192.0.2.10 is announced from node node-2 on ens18: node-1's session is over";
        assert_eq!(note, said);
    }

    #[test]
    fn the_same_has_the_same_name_and_nothing_else_has() {
        let (web, other) = (service("a"), service("b"));
        assert_eq!(announced(1).identity(&web), announced(1).identity(&web));
        assert_ne!(announced(1).identity(&web), announced(2).identity(&web));
        assert_ne!(announced(1).identity(&web), announced(1).identity(&other));
        let vip = "192.0.2.10".parse().expect("a VIP");
        let nobody = |why: &str| News::NoEligibleNode { vip, why: why.to_owned() };
        assert_eq!(nobody("x").identity(&web), nobody("x").identity(&web));
        assert_ne!(nobody("x").identity(&web), nobody("y").identity(&web));
        assert_ne!(nobody("x").identity(&web), announced(1).identity(&web));
    }
}
