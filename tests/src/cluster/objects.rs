//! The objects of a cluster: what the announcers' Leases say, and Services and Nodes
//! to set scenes with.

use std::net::Ipv4Addr;

use announcer_apiserver::{NODES, SERVICES};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{ANNOUNCE, Cluster, SERVICES_IN};

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
    /// Creates a Service of type LoadBalancer with the label of [`ANNOUNCE`], and writes
    /// its address as a load balancer's controller would.
    ///
    /// # Errors
    /// There is one of that name.
    pub fn create_service(&self, name: &str, vip: Ipv4Addr) -> Result<()> {
        let (key, value) = ANNOUNCE;
        self.create_service_without_address(name, json!({ key: value }))?;
        self.set_addresses(name, &[vip])
    }

    /// Creates a Service of type LoadBalancer with these labels that waits for its
    /// address.
    ///
    /// # Errors
    /// There is one of that name.
    pub fn create_service_without_address(&self, name: &str, labels: Value) -> Result<()> {
        let service = json!({
            "metadata": { "name": name, "labels": labels },
            "spec": {
                "type": "LoadBalancer",
                // There are 2,768 of them, and nothing here uses any.
                "allocateLoadBalancerNodePorts": false,
                "selector": { "app": name },
                "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }],
            },
        });
        let created = self.server.objects().create(&SERVICES, SERVICES_IN, service);
        created.with_context(|| format!("creating Service {name}"))?;
        Ok(())
    }

    /// Writes the addresses of a Service's load balancer.
    ///
    /// # Errors
    /// There is no such Service.
    pub fn set_addresses(&self, name: &str, vips: &[Ipv4Addr]) -> Result<()> {
        let ingress: Vec<_> = vips.iter().map(|vip| json!({ "ip": vip.to_string() })).collect();
        let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        let written = self.server.objects().patch_status(&SERVICES, SERVICES_IN, name, status);
        written.with_context(|| format!("writing the addresses of Service {name}"))?;
        Ok(())
    }

    /// Sets or (`None`) removes a label of a Service.
    ///
    /// # Errors
    /// There is no such Service.
    pub fn set_label(&self, service: &str, key: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({ "metadata": { "labels": { key: value } } });
        let written = self.server.objects().patch(&SERVICES, SERVICES_IN, service, patch);
        written.with_context(|| format!("labelling Service {service}"))?;
        Ok(())
    }

    /// Deletes a Service.
    ///
    /// # Errors
    /// There is no such Service.
    pub fn delete_service(&self, name: &str) -> Result<()> {
        let deleted = self.server.objects().delete(&SERVICES, SERVICES_IN, name);
        deleted.with_context(|| format!("deleting Service {name}"))?;
        Ok(())
    }

    /// Writes a Node object and its condition Ready, as a kubelet would.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn set_node_ready(&self, name: &str, ready: bool) -> Result<()> {
        let status = if ready { "True" } else { "False" };
        let node = json!({
            "metadata": { "name": name },
            "status": { "conditions": [{ "type": "Ready", "status": status }] },
        });
        self.server.objects().apply(&NODES, "", node)?;
        Ok(())
    }
}
