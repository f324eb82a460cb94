//! The index from Services and Nodes to intent: pure and synchronous.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Service};

use super::selector::LabelSelector;
use crate::{
    ownership::machine::Intent,
    types::{NodeName, Vip, VipError},
};

/// Label by which a node opts out of carrying load-balancer addresses.
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Which Services are ours.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Services whose labels match are announced.
    pub services: LabelSelector,
    /// `spec.loadBalancerClass` that is ours; Services of other classes are ignored.
    pub class: String,
    /// Whether Services without a class are ours.
    pub classless: bool,
    /// Whether `spec.externalIPs` are announced besides the load-balancer addresses.
    pub external_ips: bool,
}

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `metadata.namespace`; empty for what has none.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An address that a Service asks for and that cannot be announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The Service.
    pub service: ObjectKey,
    /// What is wrong with the address.
    pub error: VipError,
}

/// Services and Nodes, reduced to what intent needs.
#[derive(Debug)]
pub struct Index {
    selection: Selection,
    services: BTreeMap<ObjectKey, BTreeSet<Vip>>,
    nodes: BTreeMap<NodeName, bool>,
}

impl Index {
    /// An empty index.
    pub const fn new(selection: Selection) -> Self {
        Self { selection, services: BTreeMap::new(), nodes: BTreeMap::new() }
    }

    /// Takes in a Service; returns the addresses that it asks for in vain.
    pub fn apply_service(&mut self, service: &Service) -> Vec<Unfit> {
        let key = key(&service.metadata);
        if !self.selects(service) {
            self.services.remove(&key);
            return Vec::new();
        }
        let mut unfit = Vec::new();
        let mut vips = BTreeSet::new();
        for address in addresses(service, self.selection.external_ips) {
            match address.parse::<Vip>() {
                Ok(vip) => {
                    vips.insert(vip);
                }
                Err(error) => unfit.push(Unfit { service: key.clone(), error }),
            }
        }
        self.services.insert(key, vips);
        unfit
    }

    /// Forgets a Service.
    pub fn delete_service(&mut self, service: &Service) {
        self.services.remove(&key(&service.metadata));
    }

    /// Forgets every Service that is not in a new complete list.
    pub fn retain_services(&mut self, listed: &BTreeSet<ObjectKey>) {
        self.services.retain(|key, _| listed.contains(key));
    }

    /// Takes in a Node.
    pub fn apply_node(&mut self, node: &Node) {
        if let Some(name) = node_name(node) {
            self.nodes.insert(name, eligible(node));
        }
    }

    /// Forgets a Node.
    pub fn delete_node(&mut self, node: &Node) {
        if let Some(name) = node_name(node) {
            self.nodes.remove(&name);
        }
    }

    /// Forgets every Node that is not in a new complete list.
    pub fn retain_nodes(&mut self, listed: &BTreeSet<ObjectKey>) {
        self.nodes.retain(|name, _| listed.iter().any(|key| key.name == name.as_str()));
    }

    /// The whole intent as of now. An address that several Services share is
    /// one VIP, announced until the last of them is gone.
    pub fn intent(&self) -> Intent {
        let eligible: Arc<BTreeSet<NodeName>> = Arc::new(
            self.nodes.iter().filter(|(_, fit)| **fit).map(|(name, _)| name.clone()).collect(),
        );
        let vips = self.services.values().flatten().map(|vip| (*vip, eligible.clone())).collect();
        Intent { vips }
    }

    fn selects(&self, service: &Service) -> bool {
        let Some(spec) = &service.spec else { return false };
        let ours = spec
            .load_balancer_class
            .as_ref()
            .map_or(self.selection.classless, |class| *class == self.selection.class);
        let empty = BTreeMap::new();
        let labels = service.metadata.labels.as_ref().unwrap_or(&empty);
        spec.type_.as_deref() == Some("LoadBalancer")
            && ours
            && self.selection.services.matches(labels)
    }
}

/// The key of an object.
pub fn key(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> ObjectKey {
    ObjectKey {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

fn node_name(node: &Node) -> Option<NodeName> {
    node.metadata.name.as_deref()?.parse().ok()
}

fn addresses(service: &Service, external_ips: bool) -> Vec<&str> {
    let ingress = service
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref())
        .and_then(|lb| lb.ingress.as_deref())
        .unwrap_or_default();
    let external = service.spec.as_ref().and_then(|s| s.external_ips.as_deref());
    let external = external.filter(|_| external_ips).unwrap_or_default();
    ingress
        .iter()
        .filter_map(|i| i.ip.as_deref())
        .chain(external.iter().map(String::as_str))
        .filter(|address| !address.is_empty())
        .collect()
}

/// Ready, its network available, and not excluded. Conditions that a Node does
/// not have speak neither for nor against it, except Ready, which must be true.
fn eligible(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let is = |kind, status| conditions.iter().any(|c| c.type_ == kind && c.status == status);
    let excluded = node.metadata.labels.as_ref().is_some_and(|l| l.contains_key(EXCLUDE_LABEL));
    is("Ready", "True") && !is("NetworkUnavailable", "True") && !excluded
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
