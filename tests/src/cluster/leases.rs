//! The announcers' Leases: what they say, and what people do to them by hand.

use std::{net::Ipv4Addr, time::Duration};

use announcer_apiserver::LEASES;
use anyhow::{Context, Result};
use serde_json::Value;

use super::{Cluster, NAMESPACE};
use crate::arp::Mac;

/// Who holds a VIP, by its Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// `spec.holderIdentity`.
    pub node: String,
    /// The session in which it was taken: the node lease's uid and transitions.
    pub session: String,
}

/// The Lease of a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipLease {
    /// `metadata.resourceVersion`: changes with every write.
    pub version: String,
    /// Who holds it.
    pub held: Option<Held>,
}

/// Whether a node's session is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// It is.
    Open,
    /// It was ended by its node, or by a fence.
    Over,
}

/// The Lease of a node, without what changes with every renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLease {
    /// `metadata.uid` and `spec.leaseTransitions`, as VIP leases write them.
    pub session: String,
    /// Whether the session is in use.
    pub state: LeaseState,
}

impl VipLease {
    /// How the names of all begin.
    pub const PREFIX: &str = "announcer-vip-";

    /// What it is called.
    pub fn name(vip: Ipv4Addr) -> String {
        format!("{}{}", Self::PREFIX, vip.to_string().replace('.', "-"))
    }

    pub(super) fn read(lease: &Value) -> Self {
        let holder = text(lease, "/spec/holderIdentity");
        let session = text(lease, "/metadata/annotations/l2announcer.io~1session");
        let held = (!holder.is_empty()).then_some(Held { node: holder, session });
        Self { version: text(lease, "/metadata/resourceVersion"), held }
    }
}

impl NodeLease {
    /// Whether its session is in use.
    pub fn is_open(&self) -> bool {
        self.state == LeaseState::Open
    }

    /// What it is called.
    pub fn name(node: &str) -> String {
        format!("announcer-node-{node}")
    }

    pub(super) fn read(lease: &Value) -> Self {
        let transitions = lease.pointer("/spec/leaseTransitions").and_then(Value::as_i64);
        let session = format!("{}/{}", text(lease, "/metadata/uid"), transitions.unwrap_or(0));
        let state = match &*text(lease, "/metadata/labels/l2announcer.io~1session") {
            "open" => LeaseState::Open,
            _ => LeaseState::Over,
        };
        Self { session, state }
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Cluster {
    /// Waits until the Lease of node `n` names this MAC as the one that it announces with.
    ///
    /// # Errors
    /// It does not within `within`; the error says what it said.
    pub fn wait_for_mac(&self, n: usize, mac: Mac, within: Duration) -> Result<()> {
        self.wait_for_lease(&NodeLease::name(self.name(n)), within, |lease| {
            let macs = lease?.pointer("/metadata/annotations/l2announcer.io~1macs")?;
            (*macs == mac.to_string()).then_some(())
        })
    }

    /// Waits until the Lease of node `n` names the Node object with this uid as its owner.
    ///
    /// # Errors
    /// It does not within `within`; the error says what it said.
    pub fn wait_for_owner(&self, n: usize, uid: &str, within: Duration) -> Result<()> {
        self.wait_for_lease(&NodeLease::name(self.name(n)), within, |lease| {
            let owner = text(lease?, "/metadata/ownerReferences/0/uid");
            (owner == uid).then_some(())
        })
    }

    /// Waits until the Lease of `vip` exists and is as `wanted`.
    ///
    /// # Errors
    /// It was not within `within`; the error says what it said.
    pub fn wait_for_vip_lease(
        &self,
        vip: Ipv4Addr,
        within: Duration,
        wanted: impl Fn(&VipLease) -> bool,
    ) -> Result<VipLease> {
        self.wait_for_lease(&VipLease::name(vip), within, |lease| {
            lease.map(VipLease::read).filter(|lease| wanted(lease))
        })
    }

    /// Waits until the Lease of `vip` names a node in the session that this node's own
    /// lease is open in, and returns the node.
    ///
    /// # Errors
    /// It did not within `within`; the error says what it said.
    pub fn wait_held_in_session(&self, vip: Ipv4Addr, within: Duration) -> Result<usize> {
        self.wait_for_lease(&VipLease::name(vip), within, |lease| {
            let held = VipLease::read(lease?).held?;
            let node = self.number_of(&held.node)?;
            let own = self.node_lease(node)?;
            (own.is_open() && own.session == held.session).then_some(node)
        })
    }

    /// Deletes the Lease of `vip`, as a person might.
    ///
    /// # Errors
    /// There is none.
    pub fn delete_vip_lease(&self, vip: Ipv4Addr) -> Result<()> {
        self.delete_lease(&VipLease::name(vip))
    }

    /// Deletes the Lease of node `n`, as a person might, or the garbage collector.
    ///
    /// # Errors
    /// There is none.
    pub fn delete_node_lease(&self, n: usize) -> Result<()> {
        self.delete_lease(&NodeLease::name(self.name(n)))
    }

    /// Merges `edit` into the Lease of `vip`, as a person might.
    ///
    /// # Errors
    /// There is none, or it would be none any more.
    pub fn edit_vip_lease(&self, vip: Ipv4Addr, edit: Value) -> Result<()> {
        let name = VipLease::name(vip);
        let edited = self.objects().patch(&LEASES, NAMESPACE, &name, edit);
        edited.with_context(|| format!("editing lease {name}"))?;
        Ok(())
    }

    /// Creates a Lease beside those of the announcers.
    ///
    /// # Errors
    /// There is one of that name.
    pub fn create_lease(&self, lease: Value) -> Result<()> {
        self.objects().create(&LEASES, NAMESPACE, lease).context("creating a lease")?;
        Ok(())
    }

    fn delete_lease(&self, name: &str) -> Result<()> {
        let deleted = self.objects().delete(&LEASES, NAMESPACE, name);
        deleted.with_context(|| format!("deleting lease {name}"))?;
        Ok(())
    }
}
