//! From what is marked to the new intent.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use super::{
    super::{
        desired::{Candidacy, InterfaceScope, ServiceRef, VipIntent},
        eligibility::{LinkState, LinkTrouble, NotAnnounced},
    },
    Index, Intent, Links, NAME_PSEUDO_LABEL, NAMESPACE_PSEUDO_LABEL, Notice, ObjectKey, RuleId,
    ServiceFacts,
    endpoints::Locality,
    policies::Placed,
};
use crate::types::{NodeName, Vip, VipError};

/// Rules that together announce something; equal sets are one allocation.
pub(super) type RuleIds = Arc<BTreeSet<RuleId>>;

/// What is to be looked at anew.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) services: BTreeSet<ObjectKey>,
    pub(super) vips: BTreeSet<Vip>,
    /// A rule's nodes, or this node's interfaces.
    pub(super) nodes: bool,
    /// Which rules are in force, or what one of them says.
    pub(super) rules: bool,
}

/// What a set of rules gives the VIPs that it announces.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) nodes: Arc<BTreeSet<NodeName>>,
    pub(super) preferred: Arc<BTreeSet<NodeName>>,
    pub(super) interfaces: InterfaceScope,
    /// Why this node is not among the nodes, though nothing else speaks against it.
    pub(super) trouble: Option<LinkTrouble>,
}

/// Sets of nodes, each kept once.
#[derive(Debug, Default)]
pub(super) struct NodeSets {
    known: HashSet<Arc<BTreeSet<NodeName>>>,
    after_sweep: usize,
}

impl NodeSets {
    fn intern(&mut self, set: BTreeSet<NodeName>) -> Arc<BTreeSet<NodeName>> {
        if let Some(known) = self.known.get(&set) {
            return known.clone();
        }
        let set = Arc::new(set);
        self.known.insert(set.clone());
        set
    }

    /// Forgets what nobody uses, once it may be half of all.
    fn sweep(&mut self) {
        if self.known.len() > 2 * self.after_sweep + 16 {
            self.known.retain(|set| Arc::strong_count(set) > 1);
            self.after_sweep = self.known.len();
        }
    }
}

/// What a Service asks for.
struct Evaluation {
    claims: Vec<(Vip, RuleIds)>,
    why_not: Option<NotAnnounced>,
    unfit: Vec<VipError>,
}

impl Index {
    /// The whole intent as of now.
    pub fn intent(&mut self) -> Arc<Intent> {
        self.settle();
        self.intent.clone()
    }

    pub(super) fn settle(&mut self) {
        let rules = std::mem::take(&mut self.dirty.rules);
        if rules {
            self.rule_sets.clear();
            self.dirty.services.extend(self.services.keys().cloned());
        }
        if std::mem::take(&mut self.dirty.nodes) || rules {
            self.shares.clear();
            self.dirty.vips.extend(self.claims.keys());
        }
        for service in std::mem::take(&mut self.dirty.services) {
            self.evaluate(&service);
        }
        let candidacy = self.candidacy();
        if self.intent.candidacy != candidacy {
            Arc::make_mut(&mut self.intent).candidacy = candidacy;
        }
        let mut changes = Vec::new();
        for vip in std::mem::take(&mut self.dirty.vips) {
            let new = self.resolve(vip);
            if self.intent.vips.get(&vip) != new.as_ref() {
                changes.push((vip, new));
            }
        }
        if !changes.is_empty() {
            // Others may still read the former intent: then this is a copy.
            let intent = Arc::make_mut(&mut self.intent);
            for (vip, new) in changes {
                match new {
                    Some(new) => drop(intent.vips.insert(vip, new)),
                    None => drop(intent.vips.remove(&vip)),
                }
            }
        }
        self.node_sets.sweep();
    }

    /// Looks at a Service anew: which rules select it, and which VIPs that makes.
    fn evaluate(&mut self, key: &ObjectKey) {
        let Some(state) = self.services.get(key) else { return };
        let Evaluation { claims, why_not, unfit } = self.evaluation(key, &state.facts);
        let claims: Vec<_> =
            claims.into_iter().map(|(vip, ids)| (vip, self.one_rule_set(ids))).collect();
        let Some(state) = self.services.get_mut(key) else { return };
        self.wants.endpoints |= state.facts.local && !claims.is_empty();
        let news = unfit.iter().filter(|error| !state.unfit.contains(error));
        let news = news.map(|error| Notice::Unfit { service: key.clone(), error: error.clone() });
        self.notices.extend(news);
        (state.why_not, state.unfit) = (why_not, unfit);
        if state.claims == claims {
            return;
        }
        let old = std::mem::replace(&mut state.claims, claims.clone());
        for (vip, _) in old {
            self.unclaim(vip, key);
        }
        for (vip, ids) in claims {
            self.claims.entry(vip).or_default().push((key.clone(), ids));
            self.dirty.vips.insert(vip);
        }
    }

    pub(super) fn unclaim(&mut self, vip: Vip, service: &ObjectKey) {
        if let Some(claimants) = self.claims.get_mut(&vip) {
            claimants.retain(|(claimant, _)| claimant != service);
            if claimants.is_empty() {
                self.claims.remove(&vip);
            }
        }
        self.dirty.vips.insert(vip);
    }

    fn one_rule_set(&mut self, ids: RuleIds) -> RuleIds {
        if let Some(known) = self.rule_sets.get(&ids) {
            return known.clone();
        }
        self.rule_sets.insert(ids.clone());
        ids
    }

    fn evaluation(&self, key: &ObjectKey, facts: &ServiceFacts) -> Evaluation {
        let labels = self.labels(key, facts);
        let (mut balancer, mut external) = (BTreeSet::new(), BTreeSet::new());
        let mut selected = false;
        for (id, placed) in self.policies.rules() {
            if !placed.rule.services.matches(&labels) {
                continue;
            }
            selected = true;
            if placed.rule.load_balancer_ips && facts.load_balancer {
                balancer.insert(id.clone());
            }
            if placed.rule.external_ips {
                external.insert(id);
            }
        }
        if !selected {
            return Evaluation {
                claims: Vec::new(),
                why_not: Some(self.unselected()),
                unfit: Vec::new(),
            };
        }
        let mut claims: BTreeMap<Vip, BTreeSet<RuleId>> = BTreeMap::new();
        let mut unfit = Vec::new();
        for (ids, addresses) in
            [(&balancer, &facts.load_balancer_ips), (&external, &facts.external_ips)]
        {
            for address in addresses.iter().filter(|_| !ids.is_empty()) {
                match address {
                    Ok(vip) => claims.entry(*vip).or_default().extend(ids.iter().cloned()),
                    Err(error) => unfit.push(error.clone()),
                }
            }
        }
        let why_not = (claims.is_empty() && unfit.is_empty()).then_some(NotAnnounced::NoAddress {
            load_balancer_ips: !balancer.is_empty(),
            external_ips: !external.is_empty(),
        });
        let claims = claims.into_iter().map(|(vip, ids)| (vip, Arc::new(ids))).collect();
        Evaluation { claims, why_not, unfit }
    }

    fn unselected(&self) -> NotAnnounced {
        match self.policies.count() {
            0 => NotAnnounced::SelectorMismatch { selector: self.selection.services.to_string() },
            policies => NotAnnounced::NoPolicySelects { policies },
        }
    }

    /// A Service's labels for selection. Its own go before those of the Gateway
    /// or Ingress that it was made for (a Gateway's before an Ingress's, then by
    /// name), and the pseudo-labels before all.
    pub(super) fn labels(&self, key: &ObjectKey, facts: &ServiceFacts) -> BTreeMap<String, String> {
        let parents = facts.parents.iter().rev().filter_map(|parent| self.parents.get(parent));
        let labels = parents.chain([&facts.labels]).flatten().map(|(k, v)| (&**k, &**v));
        let pseudo = [(NAMESPACE_PSEUDO_LABEL, &*key.namespace), (NAME_PSEUDO_LABEL, &*key.name)];
        labels.chain(pseudo).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn resolve(&mut self, vip: Vip) -> Option<VipIntent> {
        let Some(claims) = self.claims.get(&vip).cloned() else {
            self.divided.remove(&vip);
            return None;
        };
        let mut parts: Vec<VipIntent> =
            claims.iter().map(|(service, ids)| self.part(service, ids)).collect();
        let alone = if parts.len() == 1 { parts.pop() } else { None };
        if let Some(alone) = alone {
            self.divided.remove(&vip);
            return Some(alone);
        }
        let (eligible, divided) = combine(&parts);
        if !divided {
            self.divided.remove(&vip);
        } else if self.divided.insert(vip) {
            let mut services: Vec<_> = claims.iter().map(|(key, _)| key.clone()).collect();
            services.sort_unstable();
            self.notices.push(Notice::Divided { vip, services });
        }
        let preferred = parts.iter().flat_map(|part| part.preferred.iter());
        let preferred = preferred.filter(|node| eligible.contains(*node)).cloned().collect();
        let interfaces = parts.iter().map(|part| part.interfaces.clone());
        Some(VipIntent {
            preferred: self.node_sets.intern(preferred),
            interfaces: interfaces
                .reduce(|all, scope| all.union(&scope))
                .unwrap_or(InterfaceScope::All),
            eligible: self.node_sets.intern(eligible),
            services: {
                let mut services: Vec<_> =
                    parts.iter().flat_map(|part| part.services.iter().cloned()).collect();
                services.sort_unstable();
                services.into()
            },
        })
    }

    /// What one Service wants of a VIP, as if it were alone.
    pub(super) fn part(&mut self, service: &ObjectKey, ids: &RuleIds) -> VipIntent {
        let Share { nodes, preferred, interfaces, trouble: _ } = self.share(ids);
        let services = self.services.get(service).map(|state| {
            let ObjectKey { namespace, name } = service.clone();
            ServiceRef { namespace, name, uid: state.facts.uid.clone() }
        });
        let services = services.into_iter().collect();
        let Some(local) = self.local_nodes(service) else {
            return VipIntent { eligible: nodes, preferred, interfaces, services };
        };
        let both = |set: &BTreeSet<NodeName>| local.intersection(set).cloned().collect();
        VipIntent {
            eligible: self.node_sets.intern(both(&nodes)),
            preferred: self.node_sets.intern(both(&preferred)),
            interfaces,
            services,
        }
    }

    /// The nodes that alone can serve a Service; `None`: all can.
    fn local_nodes(&mut self, service: &ObjectKey) -> Option<BTreeSet<NodeName>> {
        let state = self.services.get_mut(service)?;
        let locality = state.facts.local.then(|| self.endpoints.locality(service));
        let unlocated = locality == Some(Locality::Unlocated);
        if unlocated && !std::mem::replace(&mut state.unlocated, unlocated) {
            self.notices.push(Notice::Unlocated { service: service.clone() });
        }
        state.unlocated = unlocated;
        match locality? {
            Locality::On(nodes) => Some(nodes),
            Locality::Unlocated | Locality::Unreadable => None,
        }
    }

    pub(super) fn share(&mut self, ids: &RuleIds) -> Share {
        if let Some(share) = self.shares.get(ids) {
            return share.clone();
        }
        let (mut nodes, mut preferred) = (BTreeSet::new(), BTreeSet::new());
        for placed in ids.iter().filter_map(|id| self.policies.rule(id)) {
            nodes.extend(placed.nodes.iter().cloned());
            preferred.extend(placed.preferred.iter().cloned());
        }
        let interfaces = self.policies.interfaces(ids, &self.me);
        let trouble = self.link_trouble(&interfaces);
        if trouble.is_some() {
            nodes.remove(&self.me);
            preferred.remove(&self.me);
        }
        let share = Share {
            nodes: self.node_sets.intern(nodes),
            preferred: self.node_sets.intern(preferred),
            interfaces,
            trouble,
        };
        self.shares.insert(ids.clone(), share.clone());
        share
    }

    /// Whether any rule could place a VIP here, be there Services for it or not.
    fn candidacy(&self) -> Candidacy {
        let fit = |state: &LinkState| *state == LinkState::Fit;
        if self.links.as_ref().is_some_and(|links| !links.values().any(fit)) {
            return Candidacy::Unlinked;
        }
        let placed = |(_, placed): (_, &Placed)| {
            let interfaces = &placed.rule.interfaces;
            placed.nodes.contains(&self.me) && self.link_trouble(interfaces).is_none()
        };
        if self.policies.rules().any(placed) { Candidacy::Candidate } else { Candidacy::Unselected }
    }

    /// What speaks against this node: one fit interface of those meant is enough.
    fn link_trouble(&self, scope: &InterfaceScope) -> Option<LinkTrouble> {
        link_trouble(self.links.as_ref()?, scope)
    }
}

/// What speaks against a node whose interfaces are like this.
pub(super) fn link_trouble(links: &Links, scope: &InterfaceScope) -> Option<LinkTrouble> {
    let mut meant = links.iter().filter(|(name, _)| scope.includes(name)).peekable();
    let Some((first, state)) = meant.peek().copied() else {
        return Some(LinkTrouble::NoneMatches { wanted: scope.to_string() });
    };
    if meant.any(|(_, state)| *state == LinkState::Fit) {
        return None;
    }
    Some(LinkTrouble::Unfit { interface: first.clone(), state: *state })
}

/// The nodes for a VIP that Services share, and whether they are divided over it.
///
/// A node must be right for each of them: where one has no endpoint, its traffic
/// would be lost. A Service that no node at all can serve has no say. Where no
/// node is right for all, any node that is right for one is: some of the traffic
/// arriving beats none.
fn combine(parts: &[VipIntent]) -> (BTreeSet<NodeName>, bool) {
    let mut sets = parts.iter().map(|part| &part.eligible).filter(|set| !set.is_empty());
    let Some(first) = sets.next() else { return (BTreeSet::new(), false) };
    let common: BTreeSet<NodeName> =
        sets.clone().fold((**first).clone(), |all, set| all.intersection(set).cloned().collect());
    if !common.is_empty() {
        return (common, false);
    }
    (sets.fold((**first).clone(), |all, set| all.union(set).cloned().collect()), true)
}
