//! From a VIP to the nodes that may hold it, with the reasons for each that may not.

use std::collections::BTreeSet;

use super::{
    super::{facts::Watched, finding::Finding, remedy},
    Case, Chain, Wrong, not_permitted,
};
use crate::{
    intent::{
        eligibility::{Ineligible, LinkTrouble},
        index::{Kind, NodeReport, VipReport},
    },
    types::{NodeName, Vip},
};

/// Why a node is none: the cluster's reasons, and its own.
struct Against<'a> {
    node: &'a NodeName,
    reasons: &'a [Ineligible],
    trouble: Option<LinkTrouble>,
    has_lease: bool,
}

impl Case<'_> {
    /// The links of a VIP's nodes; returns those that may hold it and say nothing against
    /// themselves.
    pub(super) fn nodes(
        &mut self,
        chain: &mut Chain,
        vip: Vip,
        watched: &Watched,
    ) -> BTreeSet<NodeName> {
        let Some(report) = self.index.explain_vip(vip) else { return BTreeSet::new() };
        if let Some(why) = self.objects.unreadable.get(&Kind::Node) {
            let wrong = not_permitted("Nodes", why).remedy(remedy::may_i(None, "list", "nodes"));
            chain.problem(vip, "nodes", wrong);
            chain.unknown = true;
            return BTreeSet::new();
        }
        let mut candidates = BTreeSet::new();
        let (mut details, mut against) = (Vec::new(), Vec::new());
        for (node, NodeReport { eligible, preferred, reasons }) in &report.nodes {
            let trouble = self.trouble(vip, node, watched);
            let standing = standing(node, watched);
            if *eligible && trouble.is_none() {
                candidates.insert(node.clone());
                let preferred = if *preferred { ", preferred" } else { "" };
                details.push(format!("{node}: eligible{preferred}, {standing}"));
                continue;
            }
            let said = reasons.iter().map(ToString::to_string);
            let said = said.chain(trouble.iter().map(|trouble| format!("it says that {trouble}")));
            let said: Vec<String> = said.collect();
            details.push(format!("{node}: not eligible: {}; {standing}", said.join("; ")));
            let has_lease = watched.node(node).is_some();
            against.push(Against { node, reasons, trouble, has_lease });
        }
        if candidates.is_empty() {
            let wrong = self.nobody(&report, against).details(details);
            chain.problem(vip, "nodes", wrong);
        } else {
            let says = format!("{} of {} nodes may hold it", candidates.len(), report.nodes.len());
            chain.ok(vip, "nodes", says);
            if let Some(link) = chain.links.last_mut() {
                link.details = details;
            }
        }
        if report.divided {
            let services: Vec<String> = report.services.keys().map(ToString::to_string).collect();
            let says = format!(
                "no node is right for all of {}, which share it: the one that holds it is right \
                 for some of them only",
                services.join(", ")
            );
            let service = report.services.keys().next_back();
            let remedy = service.map(remedy::describe_service);
            chain.note(vip, "nodes", Wrong::new(Finding::Divided, says).remedy(remedy));
        }
        candidates
    }

    /// What a node's own interfaces have against it, as far as its lease says.
    pub(super) fn trouble(
        &self,
        vip: Vip,
        node: &NodeName,
        watched: &Watched,
    ) -> Option<LinkTrouble> {
        let links = watched.node(node)?.profile.links()?;
        self.index.link_trouble_on(vip, node, &links)
    }

    fn nobody(&self, report: &VipReport, mut against: Vec<Against<'_>>) -> Wrong {
        // The one that lacks least, of the ones with an announcer; what only endpoints can
        // mend comes last.
        against.sort_by_key(|it| {
            let lacks = it.reasons.len() + usize::from(it.trouble.is_some());
            let endpoint = matches!(it.reasons.first(), Some(Ineligible::NoLocalEndpoint { .. }));
            (lacks, endpoint, !it.has_lease)
        });
        let Some(nearest) = against.first() else {
            let wrong = Wrong::new(Finding::NoNodes, "the cluster has no Node objects");
            return wrong.remedy("kubectl get nodes".to_owned());
        };
        let node = nearest.node;
        let (finding, says, remedy) = match (nearest.reasons.first(), &nearest.trouble) {
            (Some(reason), _) => {
                let (finding, remedy) = self.mend(node, reason);
                (finding, reason.to_string(), remedy)
            }
            (None, Some(trouble)) => {
                let (finding, remedy) = self.mend_link(report, node, trouble);
                (finding, format!("its announcer says that {trouble}"), remedy)
            }
            (None, None) => (Finding::NoNodes, "it is not known why".to_owned(), None),
        };
        let says = match against.len() {
            1 => format!("the only node, {node}, may not hold it: {says}"),
            nodes => format!("none of {nodes} nodes may hold it; {node}: {says}"),
        };
        Wrong::new(finding, says).remedy(remedy)
    }

    fn mend(&self, node: &NodeName, reason: &Ineligible) -> (Finding, Option<String>) {
        match reason {
            Ineligible::NotReady(_) => (Finding::NodeNotReady, Some(remedy::describe_node(node))),
            Ineligible::NetworkUnavailable => {
                (Finding::NodeNetworkUnavailable, Some(remedy::describe_node(node)))
            }
            Ineligible::Excluded => (Finding::NodeExcluded, Some(remedy::include_node(node))),
            Ineligible::Cordoned => (Finding::NodeCordoned, Some(remedy::uncordon(node))),
            Ineligible::NotSelected { policies, .. } => {
                let unmet = policies.iter().filter_map(|rule| self.index.explain_node(rule, node));
                let nearest = unmet.min_by_key(Vec::len).unwrap_or_default();
                (Finding::NodeNotSelected, remedy::label_node(node, &nearest))
            }
            Ineligible::NoLocalEndpoint { service } => {
                let patch = r#"{"spec":{"externalTrafficPolicy":"Cluster"}}"#;
                (Finding::NoLocalEndpoint, Some(remedy::patch_service(service, patch)))
            }
            Ineligible::Local(_) => (Finding::LinkTrouble, None),
        }
    }

    fn mend_link(
        &self,
        report: &VipReport,
        node: &NodeName,
        trouble: &LinkTrouble,
    ) -> (Finding, Option<String>) {
        match trouble {
            LinkTrouble::NoneMatches { .. } => {
                let policies = report.services.values().flatten();
                let policy = policies.filter_map(|rule| match rule {
                    crate::intent::index::RuleId::Policy(name) => Some(name),
                    crate::intent::index::RuleId::Flags => None,
                });
                let remedy = policy.map(|name| remedy::edit_policy(name)).next();
                (Finding::NoInterface, remedy)
            }
            LinkTrouble::Unfit { .. } => {
                (Finding::LinkTrouble, Some(remedy::announcer_on(self.namespace, node)))
            }
        }
    }
}

/// How a node's session is.
pub(super) fn standing(node: &NodeName, watched: &Watched) -> &'static str {
    match watched.node(node) {
        None if watched.records.is_none() => "its lease cannot be read",
        None => "no node lease: no announcer, or one that never was a candidate for any VIP",
        Some(_) if watched.is_alive(node) => "session open and renewed",
        Some(record) if record.lease.open && watched.lasted >= record.duration => {
            "session open, but not renewed while it was watched"
        }
        Some(record) if record.lease.open => "session open",
        Some(_) => {
            "session over: its announcer has ended, was fenced, or is no candidate for any VIP; \
             what it says may be old"
        }
    }
}
