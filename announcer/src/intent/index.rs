//! The index from objects of the cluster to intent: pure and synchronous.
//!
//! Objects are applied, deleted, and retained by kind, in any order; what
//! depends on them is marked, and looked at anew when the intent is asked for.
//! So a burst of events costs what it changes, once.

mod endpoints;
mod explain;
mod facts;
mod mismatch;
mod object;
mod policies;
mod resolve;
mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Service;

use self::{
    endpoints::Endpoints,
    facts::{Labels, NodeFacts, ServiceFacts},
    policies::Policies,
    resolve::{Dirty, NodeSets, RuleIds, Share},
};
pub use self::{
    explain::{NodeReport, ServiceReport, Traffic, VipReport},
    mismatch::RuleReport,
    object::{BadPolicy, Kind, Notice, Object, ObjectKey, ParentKey, Wants, key},
    policies::RuleId,
    status::{ACCEPTED, PolicyStatus},
};
use super::{
    desired::Intent,
    eligibility::{LinkState, NotAnnounced},
    policy::L2AnnouncementPolicy,
    rules::Rule,
    selector::LabelSelector,
};
use crate::types::{NodeName, Vip, VipError};

/// Label by which a node opts out of carrying load-balancer addresses.
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Label of what was made for a Gateway (GEP-1762): the Gateway's name.
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// Pseudo-label with a Service's namespace, for selectors.
pub const NAMESPACE_PSEUDO_LABEL: &str = "io.kubernetes.service.namespace";

/// Pseudo-label with a Service's name, for selectors.
pub const NAME_PSEUDO_LABEL: &str = "io.kubernetes.service.name";

/// Label of an EndpointSlice: the Service it is for.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The address in the EndpointSlices that Cilium makes for its Gateways and
/// Ingresses: nothing is there, the traffic is redirected on whatever node it enters.
const PLACEHOLDER_ENDPOINT: &str = "192.192.192.192";

/// Which Services are ours.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Services whose labels match are announced, while there is no policy.
    pub services: LabelSelector,
    /// `spec.loadBalancerClass` that is ours; Services of other classes are ignored.
    pub class: String,
    /// Whether Services without a class are ours.
    pub classless: bool,
    /// Whether `spec.externalIPs` are announced too, while there is no policy.
    pub external_ips: bool,
    /// Whether a cordoned node may hold no VIPs.
    pub exclude_cordoned: bool,
}

/// This node's interfaces that the daemon answers on, by name.
pub type Links = BTreeMap<String, LinkState>;

#[derive(Debug)]
struct ServiceState {
    facts: ServiceFacts,
    claims: Vec<(Vip, RuleIds)>,
    why_not: Option<NotAnnounced>,
    unfit: Vec<VipError>,
    unlocated: bool,
}

/// Objects of the cluster, reduced to what intent needs.
#[derive(Debug)]
pub struct Index {
    me: NodeName,
    selection: Selection,
    nodes: BTreeMap<NodeName, NodeFacts>,
    policies: Policies,
    services: BTreeMap<ObjectKey, ServiceState>,
    parents: BTreeMap<ParentKey, Labels>,
    children: BTreeMap<ParentKey, BTreeSet<ObjectKey>>,
    endpoints: Endpoints,
    links: Option<Links>,
    /// Who asks for a VIP, and by which rules. Mostly one.
    claims: BTreeMap<Vip, Vec<(ObjectKey, RuleIds)>>,
    divided: BTreeSet<Vip>,
    rule_sets: BTreeSet<RuleIds>,
    shares: BTreeMap<RuleIds, Share>,
    node_sets: NodeSets,
    dirty: Dirty,
    wants: Wants,
    notices: Vec<Notice>,
    intent: Arc<Intent>,
}

impl Index {
    /// An empty index for this node.
    pub fn new(me: NodeName, selection: Selection) -> Self {
        let policies = Policies::new(Rule::from_flags(&selection));
        Self {
            me,
            selection,
            nodes: BTreeMap::new(),
            policies,
            services: BTreeMap::new(),
            parents: BTreeMap::new(),
            children: BTreeMap::new(),
            endpoints: Endpoints::default(),
            links: None,
            claims: BTreeMap::new(),
            divided: BTreeSet::new(),
            rule_sets: BTreeSet::new(),
            shares: BTreeMap::new(),
            node_sets: NodeSets::default(),
            dirty: Dirty::default(),
            wants: Wants::default(),
            notices: Vec::new(),
            intent: Arc::default(),
        }
    }

    /// Takes in an object, in place of what it was before.
    pub fn apply(&mut self, object: &Object) {
        match object {
            Object::Service(service) => self.apply_service(service),
            Object::Node(node) => {
                if let Some(name) = facts::node_name(node) {
                    let facts = NodeFacts::new(node, self.selection.exclude_cordoned);
                    self.set_node(name, Some(facts));
                }
            }
            Object::EndpointSlice(slice) => {
                let changed = self.endpoints.apply(slice);
                changed.iter().for_each(|service| self.moved(service));
            }
            Object::Policy(policy) => self.apply_policy(Ok(policy)),
            Object::BadPolicy(bad) => self.apply_policy(Err(bad)),
            Object::Gateway(metadata) | Object::Ingress(metadata) => {
                let parent = ParentKey { kind: object.kind(), key: key(metadata) };
                self.set_parent(parent, Some(facts::labels(metadata.labels.as_ref())));
            }
        }
    }

    /// Forgets an object.
    pub fn delete(&mut self, kind: Kind, key: &ObjectKey) {
        match kind {
            Kind::Service => self.delete_service(key),
            Kind::Node => {
                if let Ok(name) = key.name.parse() {
                    self.set_node(name, None);
                }
            }
            Kind::EndpointSlice => {
                if let Some(service) = self.endpoints.delete(key) {
                    self.moved(&service);
                }
            }
            Kind::Policy => {
                if self.policies.delete(key) {
                    self.dirty.rules = true;
                }
            }
            Kind::Gateway | Kind::Ingress => {
                self.set_parent(ParentKey { kind, key: key.clone() }, None);
            }
        }
    }

    /// Forgets every object of a kind that is not in a new complete list.
    pub fn retain(&mut self, kind: Kind, listed: &BTreeSet<ObjectKey>) {
        let cluster_scoped = |name: &str| ObjectKey::new("", name);
        let known: Vec<ObjectKey> = match kind {
            Kind::Service => self.services.keys().cloned().collect(),
            Kind::Node => self.nodes.keys().map(|n| cluster_scoped(n.as_str())).collect(),
            Kind::EndpointSlice => self.endpoints.keys().cloned().collect(),
            Kind::Policy => self.policies.names().map(|n| cluster_scoped(n)).collect(),
            Kind::Gateway | Kind::Ingress => {
                let parents = self.parents.keys().filter(|parent| parent.kind == kind);
                parents.map(|parent| parent.key.clone()).collect()
            }
        };
        for key in known.iter().filter(|key| !listed.contains(key)) {
            self.delete(kind, key);
        }
    }

    /// Whether EndpointSlices can be read. While they cannot, Services with
    /// `externalTrafficPolicy: Local` are announced as if it were Cluster: a VIP
    /// that works on some nodes beats one that is on none.
    pub fn set_endpoints_readable(&mut self, readable: bool) {
        if self.endpoints.unreadable == readable {
            self.endpoints.unreadable = !readable;
            self.dirty.vips.extend(self.claims.keys());
        }
    }

    /// What the data plane says of this node's interfaces; `None`: nothing, and
    /// then none of them speaks against this node.
    pub fn set_links(&mut self, links: Option<Links>) {
        if self.links != links {
            self.links = links;
            self.dirty.nodes = true;
        }
    }

    /// Kinds that some Service has called for so far. Never shrinks.
    pub const fn wants(&self) -> Wants {
        self.wants
    }

    /// How many Nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// What they are called.
    pub fn node_names(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.keys()
    }

    /// What people should be told since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Policies whose status does not say what it should.
    pub fn statuses(&self) -> impl Iterator<Item = &PolicyStatus> {
        self.policies.statuses()
    }

    fn apply_service(&mut self, service: &Service) {
        let key = key(&service.metadata);
        let Ok(facts) = ServiceFacts::new(service, &self.selection) else {
            return self.delete_service(&key);
        };
        if let Some(known) = self.services.get_mut(&key) {
            if known.facts == facts {
                return;
            }
            if known.facts.parents != facts.parents {
                let old = std::mem::take(&mut known.facts.parents);
                self.unlink(&key, &old);
            }
        }
        for parent in &facts.parents {
            self.wants.gateways |= parent.kind == Kind::Gateway;
            self.wants.ingresses |= parent.kind == Kind::Ingress;
            self.children.entry(parent.clone()).or_default().insert(key.clone());
        }
        match self.services.get_mut(&key) {
            Some(known) => known.facts = facts,
            None => {
                let state = ServiceState {
                    facts,
                    claims: Vec::new(),
                    why_not: None,
                    unfit: Vec::new(),
                    unlocated: false,
                };
                self.services.insert(key.clone(), state);
            }
        }
        // Its traffic policy may be all that changed.
        self.moved(&key);
        self.dirty.services.insert(key);
    }

    fn delete_service(&mut self, key: &ObjectKey) {
        let Some(state) = self.services.remove(key) else { return };
        self.unlink(key, &state.facts.parents);
        self.dirty.services.remove(key);
        for (vip, _) in state.claims {
            self.unclaim(vip, key);
        }
    }

    fn unlink(&mut self, service: &ObjectKey, parents: &[ParentKey]) {
        for parent in parents {
            if let Some(children) = self.children.get_mut(parent) {
                children.remove(service);
                if children.is_empty() {
                    self.children.remove(parent);
                }
            }
        }
    }

    fn set_node(&mut self, name: NodeName, facts: Option<NodeFacts>) {
        if self.nodes.get(&name) == facts.as_ref() {
            return;
        }
        self.dirty.nodes |= self.policies.place(&name, facts.as_ref());
        match facts {
            Some(facts) => drop(self.nodes.insert(name, facts)),
            None => drop(self.nodes.remove(&name)),
        }
    }

    fn apply_policy(&mut self, policy: Result<&L2AnnouncementPolicy, &BadPolicy>) {
        let metadata = policy.map_or_else(|bad| &bad.metadata, |policy| &policy.metadata);
        let (changed, errors) = self.policies.apply(policy, &self.nodes);
        self.dirty.rules |= changed;
        if !errors.is_empty() {
            self.notices.push(Notice::BadPolicy { policy: key(metadata), errors });
        }
    }

    fn set_parent(&mut self, parent: ParentKey, labels: Option<Labels>) {
        if self.parents.get(&parent) == labels.as_ref() {
            return;
        }
        self.dirty.services.extend(self.children.get(&parent).into_iter().flatten().cloned());
        match labels {
            Some(labels) => drop(self.parents.insert(parent, labels)),
            None => drop(self.parents.remove(&parent)),
        }
    }

    /// Where a Service can be served has changed: its VIPs are looked at anew.
    fn moved(&mut self, service: &ObjectKey) {
        if let Some(state) = self.services.get(service) {
            self.dirty.vips.extend(state.claims.iter().map(|(vip, _)| *vip));
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
