//! Why rules do not reach what people mean them to: which requirement fails, of a Service
//! and of a node, and what another node's own interfaces have to do with it.

use std::collections::BTreeSet;

use super::{
    super::{desired::InterfaceScope, eligibility::LinkTrouble, rules::RuleError, selector::Unmet},
    Index, Links, ObjectKey, RuleId,
    resolve::link_trouble,
};
use crate::types::{NodeName, Vip};

/// How a rule stands to a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// The rule.
    pub rule: RuleId,
    /// What is wrong with it; then it has no effect, whatever else.
    pub errors: Vec<RuleError>,
    /// The requirements of its service selector that the Service does not meet.
    pub unmet: Vec<Unmet>,
    /// Whether it announces `status.loadBalancer.ingress`.
    pub load_balancer_ips: bool,
    /// Whether it announces `spec.externalIPs`.
    pub external_ips: bool,
}

impl RuleReport {
    /// Whether the Service is selected by it.
    pub fn selects(&self) -> bool {
        self.errors.is_empty() && self.unmet.is_empty()
    }
}

impl Index {
    /// How each rule stands to a Service, those without effect included; `None` if the
    /// Service is not kept (see [`Self::classify`]).
    pub fn explain_rules(&self, service: &ObjectKey) -> Option<Vec<RuleReport>> {
        let labels = self.labels(service, &self.services.get(service)?.facts);
        let refused = self.policies.refused().map(|(rule, errors)| RuleReport {
            rule,
            errors: errors.to_vec(),
            unmet: Vec::new(),
            load_balancer_ips: false,
            external_ips: false,
        });
        let rules = self.policies.rules().map(|(rule, placed)| RuleReport {
            rule,
            errors: Vec::new(),
            unmet: placed.rule.services.unmet(&labels),
            load_balancer_ips: placed.rule.load_balancer_ips,
            external_ips: placed.rule.external_ips,
        });
        Some(rules.chain(refused).collect())
    }

    /// The requirements of a rule's node selector that a node does not meet; `None` if
    /// either is not known.
    pub fn explain_node(&self, rule: &RuleId, node: &NodeName) -> Option<Vec<Unmet>> {
        let rule = &self.policies.rule(rule)?.rule;
        Some(rule.nodes.unmet(&self.nodes.get(node)?.labels))
    }

    /// The interfaces on which a node is to answer for a VIP.
    pub fn scope_on(&self, vip: Vip, node: &NodeName) -> Option<InterfaceScope> {
        let claims = self.claims.get(&vip)?;
        let ids: BTreeSet<RuleId> =
            claims.iter().flat_map(|(_, ids)| ids.iter().cloned()).collect();
        Some(self.policies.interfaces(&ids, node))
    }

    /// What speaks against a node by what its interfaces are like: as that node itself
    /// judges them.
    pub fn link_trouble_on(&self, vip: Vip, node: &NodeName, links: &Links) -> Option<LinkTrouble> {
        let claims = self.claims.get(&vip)?;
        let mut troubles =
            claims.iter().map(|(_, ids)| link_trouble(links, &self.policies.interfaces(ids, node)));
        troubles.find(Option::is_some).flatten()
    }

    /// Every VIP that some Service asks for, and those that do.
    pub fn claimed(&mut self) -> Vec<(Vip, Vec<ObjectKey>)> {
        self.settle();
        let services = |claims: &[(ObjectKey, _)]| claims.iter().map(|(s, _)| s.clone()).collect();
        self.claims.iter().map(|(vip, claims)| (*vip, services(claims))).collect()
    }
}
