//! Why something is, or is not, announced: link by link, as data.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

use super::{
    super::{
        desired::InterfaceScope,
        eligibility::{Ineligible, NotAnnounced},
    },
    Index, ObjectKey, ParentKey, RuleId, ServiceFacts,
    endpoints::Locality,
    resolve::RuleIds,
};
use crate::types::{NodeName, Vip, VipError};

/// How a Service's traffic policy bears on where it is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// `externalTrafficPolicy: Cluster`: any node will do.
    Cluster,
    /// `externalTrafficPolicy: Local`: nodes with an endpoint that serves.
    Local,
    /// Local, but none of its endpoints says where it is; taken as Cluster.
    Unlocated,
    /// Local, but EndpointSlices cannot be read; taken as Cluster.
    Unreadable,
}

/// What becomes of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceReport {
    /// The Service.
    pub service: ObjectKey,
    /// The Gateways and Ingresses whose labels it inherits, and whether they are there.
    pub inherits: Vec<(ParentKey, bool)>,
    /// How its traffic policy bears on where it is announced.
    pub traffic: Traffic,
    /// Why nothing of it is announced.
    pub why_not: Option<NotAnnounced>,
    /// Addresses that it asks for in vain.
    pub unfit: Vec<VipError>,
    /// What is announced for it.
    pub vips: Vec<VipReport>,
}

/// What becomes of a VIP.
#[derive(Clone, Debug, PartialEq)]
pub struct VipReport {
    /// The address.
    pub vip: Vip,
    /// The Services that it is for, and what selected each.
    pub services: BTreeMap<ObjectKey, Vec<RuleId>>,
    /// Every node of the cluster.
    pub nodes: BTreeMap<NodeName, NodeReport>,
    /// The interfaces of this node that are meant.
    pub interfaces: InterfaceScope,
    /// No node is right for all of the Services, so each that is right for one is
    /// eligible, whatever its reasons say.
    pub divided: bool,
}

/// What a node is to a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Whether it may hold the VIP.
    pub eligible: bool,
    /// Whether a policy prefers it.
    pub preferred: bool,
    /// What speaks against it.
    pub reasons: Vec<Ineligible>,
}

impl Index {
    /// Why a Service cannot be announced, whatever the rules say: then the index
    /// does not keep it.
    pub fn classify(&self, service: &Service) -> Option<NotAnnounced> {
        ServiceFacts::new(service, &self.selection).err()
    }

    /// What becomes of a Service; `None` if it is not kept (see [`Self::classify`]).
    pub fn explain_service(&mut self, service: &ObjectKey) -> Option<ServiceReport> {
        self.settle();
        let vips: Vec<Vip> = self.services.get(service)?.claims.iter().map(|(v, _)| *v).collect();
        let vips = vips.into_iter().filter_map(|vip| self.explain_vip(vip)).collect();
        let state = self.services.get(service)?;
        let inherits = state.facts.parents.iter();
        Some(ServiceReport {
            service: service.clone(),
            inherits: inherits.map(|p| (p.clone(), self.parents.contains_key(p))).collect(),
            traffic: if !state.facts.local {
                Traffic::Cluster
            } else {
                match self.endpoints.locality(service) {
                    Locality::On(_) => Traffic::Local,
                    Locality::Unlocated => Traffic::Unlocated,
                    Locality::Unreadable => Traffic::Unreadable,
                }
            },
            why_not: state.why_not.clone(),
            unfit: state.unfit.clone(),
            vips,
        })
    }

    /// What becomes of a VIP; `None` if nothing asks for it.
    pub fn explain_vip(&mut self, vip: Vip) -> Option<VipReport> {
        self.settle();
        let intent = self.intent.vips.get(&vip)?.clone();
        let claims = self.claims.get(&vip)?.clone();
        let mut nodes = BTreeMap::new();
        for (node, facts) in &self.nodes {
            let reasons = facts.unfit.clone();
            let eligible = intent.eligible.contains(node);
            let preferred = intent.preferred.contains(node);
            nodes.insert(node.clone(), NodeReport { eligible, preferred, reasons });
        }
        // A Service that no node can serve has no say over its siblings.
        let parts: Vec<_> = claims.iter().map(|(s, ids)| self.part(s, ids)).collect();
        let mute = parts.iter().any(|part| !part.eligible.is_empty());
        for ((service, ids), part) in claims.iter().zip(&parts) {
            if !(mute && part.eligible.is_empty()) {
                self.object(service, ids, &mut nodes);
            }
        }
        for report in nodes.values_mut() {
            report.reasons.dedup();
        }
        let services = claims.iter();
        Some(VipReport {
            vip,
            services: services.map(|(s, ids)| (s.clone(), ids.iter().cloned().collect())).collect(),
            nodes,
            interfaces: intent.interfaces,
            divided: self.divided.contains(&vip),
        })
    }

    /// Adds what one Service has against each node.
    fn object(
        &mut self,
        service: &ObjectKey,
        ids: &RuleIds,
        nodes: &mut BTreeMap<NodeName, NodeReport>,
    ) {
        let trouble = self.share(ids).trouble;
        let rules: Vec<_> = ids.iter().filter_map(|id| self.policies.rule(id)).collect();
        let local = self.services.get(service).is_some_and(|state| state.facts.local);
        let local = match local.then(|| self.endpoints.locality(service)) {
            Some(Locality::On(nodes)) => Some(nodes),
            _ => None,
        };
        for (node, report) in nodes {
            if !rules.iter().any(|rule| rule.selected.contains(node)) {
                let policies = ids.iter().cloned().collect();
                let service = service.clone();
                report.reasons.push(Ineligible::NotSelected { service, policies });
            }
            if local.as_ref().is_some_and(|local| !local.contains(node)) {
                report.reasons.push(Ineligible::NoLocalEndpoint { service: service.clone() });
            }
            if *node == self.me {
                report.reasons.extend(trouble.clone().map(Ineligible::Local));
            }
        }
    }
}
