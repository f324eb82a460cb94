//! From a VIP to the nodes that may hold it, with the reasons for each that may not.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{
        facts::{Standing, Watched},
        finding::Finding,
        remedy::{self, Remedy},
    },
    Case, Chain, Wrong, not_permitted,
    wire::policy,
};
use crate::{
    intent::{
        eligibility::{Ineligible, LinkTrouble},
        index::{Kind, NodeReport, VipReport},
    },
    phrase::count,
    types::{NodeName, Vip},
};

/// Why a node is none: the cluster's reasons, and its own.
struct Against<'a> {
    node: &'a NodeName,
    reasons: &'a [Ineligible],
    trouble: Option<LinkTrouble>,
    standing: Standing,
}

/// A node's words are as old as its session.
const fn says(standing: Standing) -> &'static str {
    if standing.may_be_alive() { "says that" } else { "said last that" }
}

impl Case<'_> {
    /// The links of a VIP's nodes; returns those that may hold it and say nothing against
    /// themselves.
    pub(super) fn nodes(
        &mut self,
        chain: &mut Chain<'_>,
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
            let standing = watched.standing(node);
            if *eligible && trouble.is_none() {
                candidates.insert(node.clone());
                let preferred = if *preferred { ", preferred" } else { "" };
                let but = if standing.may_be_alive() { "" } else { "but not alive: " };
                details.push(format!("{node}: eligible{preferred}, {but}{standing}"));
                if standing == Standing::Open {
                    chain.wait(watched.node(node).map_or(Duration::ZERO, |it| it.duration));
                }
                continue;
            }
            let says = says(standing);
            let said = reasons.iter().map(ToString::to_string);
            let said = said.chain(trouble.iter().map(|trouble| format!("it {says} {trouble}")));
            let said: Vec<String> = said.collect();
            details.push(format!("{node}: not eligible: {}; {standing}", said.join("; ")));
            against.push(Against { node, reasons, trouble, standing });
        }
        if candidates.is_empty() {
            let wrong = self.nobody(&report, against).details(details);
            chain.problem(vip, "nodes", wrong);
        } else {
            self.able(chain, vip, report.nodes.len(), &candidates, watched, details);
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

    /// Of the nodes that may hold a VIP those count that are alive.
    fn able(
        &self,
        chain: &mut Chain<'_>,
        vip: Vip,
        nodes: usize,
        candidates: &BTreeSet<NodeName>,
        watched: &Watched,
        details: Vec<String>,
    ) {
        let is_dead = |node: &&NodeName| !watched.standing(node).may_be_alive();
        let dead: Vec<&NodeName> = candidates.iter().filter(is_dead).collect();
        let able = candidates.len() - dead.len();
        let nodes = count(nodes, "node");
        let says = match (able, dead.len()) {
            (able, 0) => format!("{able} of {nodes} may hold it"),
            (0, dead) => format!("{dead} of {nodes} may hold it, and none of them is alive"),
            (able, dead) => {
                format!("{able} of {nodes} may hold it, not counting {dead} that might if alive")
            }
        };
        let Some(dead) = dead.first().filter(|_| able == 0) else {
            return chain.ok_with(vip, "nodes", says, details);
        };
        // Where there is no announcer at all, the next link has what to type.
        let is_any = watched.records.as_ref().is_none_or(|records| !records.nodes.is_empty());
        let remedy = is_any.then(|| remedy::announcer_on(self.given.namespace, dead));
        let wrong = Wrong::new(Finding::NoSession, says).details(details);
        chain.note(vip, "nodes", wrong.remedy(remedy));
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
            (lacks, endpoint, it.standing == Standing::Absent)
        });
        let Some(nearest) = against.first() else {
            let wrong = Wrong::new(Finding::NoNodes, "the cluster has no Node objects");
            return wrong.remedy(remedy::list_nodes());
        };
        let node = nearest.node;
        let (finding, says, remedy) = match (nearest.reasons.first(), &nearest.trouble) {
            (Some(reason), _) => {
                let (finding, remedy) = self.mend(node, reason);
                (finding, reason.to_string(), remedy)
            }
            (None, Some(trouble)) => {
                let (finding, remedy) = self.mend_link(report, node, trouble);
                (finding, format!("its announcer {} {trouble}", says(nearest.standing)), remedy)
            }
            (None, None) => (Finding::NoNodes, "it is not known why".to_owned(), None),
        };
        let says = match against.len() {
            1 => format!("the only node, {node}, may not hold it: {says}"),
            nodes => format!("none of {nodes} nodes may hold it; {node}: {says}"),
        };
        Wrong::new(finding, says).remedy(remedy)
    }

    fn mend(&self, node: &NodeName, reason: &Ineligible) -> (Finding, Option<Remedy>) {
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
    ) -> (Finding, Option<Remedy>) {
        match trouble {
            LinkTrouble::NoneMatches { .. } => {
                (Finding::NoInterface, policy(report).map(remedy::edit_policy))
            }
            LinkTrouble::Unfit { .. } => {
                (Finding::LinkTrouble, Some(remedy::announcer_on(self.given.namespace, node)))
            }
        }
    }
}
