//! The condition `L2Announced` of Services: who announces their addresses, for those who
//! look at the Service only.
//!
//! As with Events, nothing waits for it and nothing depends on it. What it should say follows
//! from what this node knows; whoever is to say so looks now and then, and whenever a VIP has
//! moved, and asks for a write only where the Service says something else.

mod look;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::Service,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

pub use self::look::{Sources, run};
pub(crate) use self::writer::Writer;
use crate::{
    intent::{
        desired::{Intent, InterfaceScope, ServiceRef},
        eligibility::LinkState,
        index::ObjectKey,
    },
    ownership::{
        profile::InterfaceProfile,
        report::{VipReport, VipState},
    },
    phrase::list,
    types::{NodeName, Vip},
};

/// The condition's type.
pub const L2_ANNOUNCED: &str = "L2Announced";

/// So many VIPs of a Service are named.
const NAMED: usize = 32;

/// So many characters does a message have at most (metav1.Condition).
const MESSAGE: usize = 32_768;

/// What is to become of a Service's condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Whose.
    pub service: ServiceRef,
    /// What it is to say; `None`: it goes.
    pub condition: Option<Condition>,
}

/// What the watches have shown.
#[derive(Debug, Default)]
pub struct Seen {
    conditions: BTreeMap<ObjectKey, Condition>,
    orphans: BTreeMap<Vip, String>,
}

impl Seen {
    /// Takes in a Service; whether that says anything new.
    pub fn apply(&mut self, key: ObjectKey, service: &Service) -> bool {
        let conditions =
            service.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let own = conditions.into_iter().find(|condition| condition.type_ == L2_ANNOUNCED);
        match own {
            Some(own) if self.conditions.get(&key) == Some(own) => false,
            Some(own) => {
                self.conditions.insert(key, own.clone());
                true
            }
            None => self.delete(&key),
        }
    }

    /// Forgets a Service; whether anything was known of it.
    pub fn delete(&mut self, key: &ObjectKey) -> bool {
        self.conditions.remove(key).is_some()
    }

    /// Forgets those that are not listed any more; whether there were any.
    pub fn retain(&mut self, listed: &BTreeSet<ObjectKey>) -> bool {
        let before = self.conditions.len();
        self.conditions.retain(|key, _| listed.contains(key));
        self.conditions.len() != before
    }

    /// VIPs that no node may hold, where it is for this node to say so, and what speaks
    /// against the nodes; whether that is new.
    pub fn set_orphans(&mut self, orphans: &BTreeMap<Vip, String>) -> bool {
        let is_new = self.orphans != *orphans;
        if is_new {
            self.orphans.clone_from(orphans);
        }
        is_new
    }

    fn condition(&self, service: &ServiceRef) -> Option<&Condition> {
        let ServiceRef { namespace, name, uid: _ } = service;
        self.conditions.get(&ObjectKey { namespace: namespace.clone(), name: name.clone() })
    }
}

/// Everything that conditions follow from.
#[derive(Clone, Copy, Debug)]
struct Scene<'a> {
    me: &'a NodeName,
    /// This node's interfaces; `None`: not known yet.
    interfaces: Option<&'a BTreeMap<String, InterfaceProfile>>,
    intent: &'a Intent,
    /// As the loop that owns the VIPs sees them.
    vips: &'a BTreeMap<Vip, VipReport>,
    seen: &'a Seen,
}

/// What a condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Saying {
    Announced(String),
    NoEligibleNode(String),
}

impl Saying {
    const fn status(&self) -> &'static str {
        match self {
            Self::Announced(_) => "True",
            Self::NoEligibleNode(_) => "False",
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::Announced(_) => "Announced",
            Self::NoEligibleNode(_) => "NoEligibleNode",
        }
    }

    const fn message(&self) -> &String {
        match self {
            Self::Announced(message) | Self::NoEligibleNode(message) => message,
        }
    }

    /// Whether the condition says so already. What speaks against each node changes, and may
    /// be told once, by whichever node is first.
    fn is_said(&self, condition: &Condition) -> bool {
        let is_same = condition.status == self.status() && condition.reason == self.reason();
        is_same && (matches!(self, Self::NoEligibleNode(_)) || condition.message == *self.message())
    }

    /// The time of the transition stays as it is while the status does.
    fn condition(&self, now: Timestamp, former: Option<&Condition>) -> Condition {
        let since = former.filter(|former| former.status == self.status());
        Condition {
            type_: L2_ANNOUNCED.to_owned(),
            status: self.status().to_owned(),
            reason: self.reason().to_owned(),
            message: self.message().chars().take(MESSAGE).collect(),
            observed_generation: None,
            last_transition_time: since
                .map_or_else(|| Time(now), |former| former.last_transition_time.clone()),
        }
    }
}

impl Scene<'_> {
    /// What is to be written now, by this node. `mine` are the Services whose condition this
    /// node is, or was last, to write: of those that ask for nothing any more, it goes.
    fn due(&self, now: Timestamp, mine: &mut BTreeSet<ServiceRef>) -> Vec<Patch> {
        let mut services: BTreeMap<&ServiceRef, Vec<(Vip, &VipReport)>> = BTreeMap::new();
        for (vip, report) in self.vips {
            for service in report.services.iter() {
                services.entry(service).or_default().push((*vip, report));
            }
        }
        let mut due = Vec::new();
        for (&service, vips) in &services {
            match self.writer(vips) {
                Some(node) if node == self.me => {}
                Some(_) => {
                    mine.remove(service);
                    continue;
                }
                None if self.tells_of_orphans(vips) => {}
                None => continue,
            }
            mine.insert(service.clone());
            let former = self.seen.condition(service);
            let saying = self.saying(vips);
            if let Some(saying) = saying.filter(|it| !former.is_some_and(|was| it.is_said(was))) {
                let condition = Some(saying.condition(now, former));
                due.push(Patch { service: service.clone(), condition });
            }
        }
        // Until the watches say that it is gone.
        mine.retain(|service| {
            services.contains_key(service) || self.seen.condition(service).is_some()
        });
        let left = mine.iter().filter(|service| !services.contains_key(service));
        due.extend(left.map(|service| Patch { service: service.clone(), condition: None }));
        due
    }

    /// One node writes for all VIPs of a Service, or two that know the other's interfaces
    /// less well would correct each other for ever: who holds the first that anybody holds.
    fn writer<'a>(&self, vips: &[(Vip, &'a VipReport)]) -> Option<&'a NodeName> {
        vips.iter().find_map(|(_, report)| holder(report))
    }

    fn tells_of_orphans(&self, vips: &[(Vip, &VipReport)]) -> bool {
        let no_node =
            |vip: &Vip| self.intent.vips.get(vip).is_some_and(|wanted| wanted.eligible.is_empty());
        let is_told = vips.first().is_some_and(|(vip, _)| self.seen.orphans.contains_key(vip));
        is_told && vips.iter().all(|(vip, _)| no_node(vip))
    }

    /// `None`: something is under way, and will be looked at when it is over.
    fn saying(&self, vips: &[(Vip, &VipReport)]) -> Option<Saying> {
        if self.writer(vips).is_none() {
            let (first, _) = vips.first()?;
            let why = self.seen.orphans.get(first)?;
            let list = list(vips.iter().map(|(vip, _)| vip), NAMED);
            return Some(Saying::NoEligibleNode(format!("no node may hold {list}. {why}")));
        }
        let is_mine = |report: &VipReport| holder(report) == Some(self.me);
        let is_settled = |report: &VipReport| !is_mine(report) || report.state == VipState::Held;
        if !vips.iter().all(|(_, report)| is_settled(report)) {
            return None;
        }
        let each = vips.iter().map(|(vip, report)| match holder(report) {
            Some(_) if is_mine(report) => format!("{vip} by {}{}", self.me, self.place(*vip)),
            Some(other) => format!("{vip} by {other}"),
            None => format!("{vip} by no node"),
        });
        Some(Saying::Announced(list(each, NAMED)))
    }

    /// Where this node announces a VIP, in brackets.
    fn place(&self, vip: Vip) -> String {
        let scope = self.intent.vips.get(&vip).map(|wanted| &wanted.interfaces);
        let scope = scope.unwrap_or(&InterfaceScope::All);
        let places: Vec<String> = self
            .interfaces
            .into_iter()
            .flatten()
            .filter(|(name, interface)| interface.link == LinkState::Fit && scope.includes(name))
            .filter_map(|(name, interface)| Some(format!("{} on {name}", interface.mac.as_ref()?)))
            .collect();
        if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) }
    }
}

/// Who holds it. One that is free is somebody's only in so far as he gave it up last.
const fn holder(report: &VipReport) -> Option<&NodeName> {
    match report.state {
        VipState::Waiting(_) => None,
        _ => report.holder.as_ref(),
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests;
