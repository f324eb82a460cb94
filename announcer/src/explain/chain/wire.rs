//! From the node that holds a VIP to the hosts that ask for it: its interfaces, their
//! networks, and strangers, all as far as its lease tells.

use super::{
    super::{
        facts::Watched,
        finding::{Announcer, AnnouncerInterface, Finding},
        remedy::{self, Remedy},
    },
    Case, Chain, Wrong,
};
use crate::{
    conflict::Vendor,
    intent::{
        desired::InterfaceScope,
        index::{RuleId, VipReport},
    },
    ownership::{
        profile::{ConflictProfile, InterfaceProfile},
        store::NodeRecord,
    },
    types::{NodeName, Vip},
};

/// The interfaces on which a node answers for a VIP.
type Answering<'a> = Vec<(&'a String, &'a InterfaceProfile)>;

impl Case<'_> {
    /// By the leases this node is to answer.
    pub(super) fn announces(
        &mut self,
        chain: &mut Chain<'_>,
        vip: Vip,
        node: &NodeName,
        watched: &Watched,
    ) {
        let Some(NodeRecord { macs, profile, .. }) = watched.node(node) else { return };
        let conflict = profile.conflicts.get(&vip);
        if let Some(trouble) = self.trouble(vip, node, watched) {
            let says = format!("{node} holds it, and nobody hears it: it says that {trouble}");
            let remedy = remedy::announcer_on(self.given.namespace, node);
            return chain.problem(
                vip,
                "wire",
                Wrong::new(Finding::LinkTrouble, says).remedy(remedy),
            );
        }
        if let Some(conflict) = conflict.filter(|conflict| !conflict.answered) {
            let says = format!(
                "{node} holds it, and is silent because of an address conflict: {}; it answers \
                 when that is gone: find that machine, and give it another address",
                stranger(conflict)
            );
            let wrong = Wrong::new(Finding::AddressConflict, says).remedy(remedy::probe(vip));
            return chain.problem(vip, "wire", wrong);
        }
        let scope = self.index.scope_on(vip, node).unwrap_or(InterfaceScope::All);
        let interfaces = profile.interfaces.iter().flatten();
        let answering: Answering<'_> = interfaces
            .filter(|(name, interface)| scope.includes(name) && interface.hook.is_some())
            .collect();
        if let Some(wrong) = self.off_link(vip, node, &answering) {
            chain.note(vip, "wire", wrong);
        }
        if let Some(conflict) = conflict {
            let says = format!(
                "there is an address conflict: {}, and {node} answers all the same, so clients \
                 go to the one and the other: find that machine, and give it another address",
                stranger(conflict)
            );
            let wrong = Wrong::new(Finding::AddressConflict, says).remedy(remedy::probe(vip));
            chain.note(vip, "wire", wrong);
        }
        let interfaces = answering.into_iter().map(|(name, interface)| AnnouncerInterface {
            interface: name.clone(),
            mac: interface.mac.clone(),
            hook: interface.hook.clone(),
        });
        chain.announcers.push(Announcer {
            vip: vip.to_string(),
            node: node.to_string(),
            interfaces: interfaces.collect(),
            macs: macs.iter().map(ToString::to_string).collect(),
        });
    }

    /// Where no host has a reason to ask for it.
    fn off_link(&mut self, vip: Vip, node: &NodeName, answering: &Answering<'_>) -> Option<Wrong> {
        let is_off_link = |(_, it): &(_, &InterfaceProfile)| it.is_on_link(vip) == Some(false);
        if answering.is_empty() || !answering.iter().all(is_off_link) {
            return None;
        }
        let each = answering.iter().map(|(name, interface)| {
            let networks = interface.networks.iter().flatten().map(ToString::to_string);
            let networks: Vec<String> = networks.collect();
            match networks.is_empty() {
                true => format!("{name} (it has none)"),
                false => format!("{name} ({})", networks.join(", ")),
            }
        });
        let says = format!(
            "{vip} lies in none of the networks of {} on {node}: hosts reach it only if they \
             have a route to it; check the address, or the policy's interfaces",
            each.collect::<Vec<_>>().join(", ")
        );
        let remedy = self.index.explain_vip(vip).as_ref().and_then(edit);
        Some(Wrong::new(Finding::OffLink, says).remedy(remedy))
    }
}

/// Where interfaces are chosen, or else the address.
fn edit(report: &VipReport) -> Option<Remedy> {
    let service = || report.services.keys().next().map(remedy::describe_service);
    policy(report).map(remedy::edit_policy).or_else(service)
}

/// A policy that selects a VIP.
pub(super) fn policy(report: &VipReport) -> Option<&str> {
    report.services.values().flatten().find_map(|rule| match rule {
        RuleId::Policy(name) => Some(&**name),
        RuleId::Flags => None,
    })
}

fn stranger(ConflictProfile { mac, interface, .. }: &ConflictProfile) -> String {
    format!("{mac} ({}), no announcer, uses it on {interface}", Vendor(*mac))
}
