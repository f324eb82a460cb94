//! Leases as people ask about them: what the protocol reads, and what nodes say of
//! themselves besides.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;

use super::{
    super::{
        lease::{NodeLease, VipLease},
        profile::Profile,
    },
    Known, LeaseError, PROFILE_ANNOTATIONS, understand, value,
};
use crate::types::{MacAddr, NodeName, Vip};

/// A lease may name any duration, and people wait for it to end.
const LONGEST: Duration = Duration::from_secs(60);

/// A node lease, with all that its node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// The session.
    pub lease: NodeLease,
    /// The MAC addresses that the node announces with.
    pub macs: Vec<MacAddr>,
    /// How long a session lasts without a renewal, rounded up to seconds; a minute at most.
    pub duration: Duration,
    /// What else it says.
    pub profile: Profile,
}

/// A VIP lease, and what is written there for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipRecord {
    /// Who holds the VIP.
    pub lease: VipLease,
    /// `spec.holderIdentity`, whatever it is worth; empty: none.
    pub holder_identity: String,
}

/// All Leases of a namespace that are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// By node.
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    /// By VIP.
    pub vips: BTreeMap<Vip, VipRecord>,
    /// What has our label and cannot be understood.
    pub strange: Vec<LeaseError>,
}

impl Records {
    /// Takes in a Lease, in place of what it was before.
    pub fn insert(&mut self, lease: &Lease) {
        match understand(lease) {
            Ok(Known::Node(node, known, macs)) => {
                let annotations = lease.metadata.annotations.as_ref();
                let text = |key| value(annotations, key);
                let profile = Profile::from_texts(PROFILE_ANNOTATIONS.map(text));
                let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
                let seconds = u64::try_from(seconds.unwrap_or(0)).unwrap_or(0);
                let duration = Duration::from_secs(seconds).min(LONGEST);
                self.nodes.insert(node, NodeRecord { lease: known, macs, duration, profile });
            }
            Ok(Known::Vip(vip, known)) => {
                let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
                let holder_identity = holder.unwrap_or_default();
                self.vips.insert(vip, VipRecord { lease: known, holder_identity });
            }
            Err(error) if !self.strange.contains(&error) => self.strange.push(error),
            Err(_) => {}
        }
    }

    /// Forgets a Lease that is gone.
    pub fn remove(&mut self, lease: &Lease) {
        match understand(lease) {
            Ok(Known::Node(node, ..)) => drop(self.nodes.remove(&node)),
            Ok(Known::Vip(vip, _)) => drop(self.vips.remove(&vip)),
            Err(_) => {}
        }
    }
}
